// SPDX-License-Identifier: GPL-2.0
/* Promise 8, as in fail_nth.c: probing and removing the device, and loading and unloading the module. */
#include "fail_nth.h"
#include "requests.h"

#include <sys/stat.h>
#include <sys/syscall.h>

FIXTURE(coming)
{
	int knob;
	char address[32];
};

FIXTURE_SETUP(coming)
{
	self->knob = open_knob();
	if (self->knob < 0)
		SKIP(return, "this kernel has no fault injection");
	ASSERT_EQ(0, prepare_injection());
	ASSERT_EQ(0, pci_address("rdma0", self->address));
}

FIXTURE_TEARDOWN(coming)
{
}

static char pci_device[32];
static int driver_file;
static int module_file;

static long write_address(struct scene *self)
{
	(void)self;
	return result(pwrite(driver_file, pci_device, strlen(pci_device), 0));
}

static void open_driver_file(struct __test_metadata *_metadata, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), PCI "drivers/rdma/%s", name);
	driver_file = open(path, O_WRONLY | O_CLOEXEC);
	ASSERT_LE(0, driver_file);
}

/* A device that is bound works after any failure during probe, and has the first number again. */
static void use_and_unbind(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)self;
	if (answer < 0)
		return;
	ASSERT_TRUE(works());
	ASSERT_EQ(0, write_text(PCI "drivers/rdma/unbind", pci_device));
}

static void bind_again(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)self;
	if (answer >= 0) {
		ASSERT_EQ(0, write_text(PCI "drivers/rdma/bind", pci_device));
	}
}

/* EBUSY comes from pci_request_region, if it has no memory to record the owner of the BAR. */
TEST_F(coming, bind)
{
	struct scene scene = { .knob = self->knob };
	const struct sweep what = { "bind", -1, 1, NULL, write_address, use_and_unbind, EBUSY };

	strcpy(pci_device, self->address);
	open_driver_file(_metadata, "bind");
	ASSERT_EQ(0, write_text(PCI "drivers/rdma/unbind", pci_device));
	sweep(_metadata, &scene, &what);
	ASSERT_EQ(0, write_text(PCI "drivers/rdma/bind", pci_device));
}

TEST_F(coming, unbind)
{
	struct scene scene = { .knob = self->knob };
	const struct sweep what = { "unbind", -1, 1, NULL, write_address, bind_again };

	strcpy(pci_device, self->address);
	open_driver_file(_metadata, "unbind");
	sweep(_metadata, &scene, &what);
}

static long insert_module(const char *parameters)
{
	return result(syscall(SYS_finit_module, module_file, parameters, 0));
}

static long call_insmod(struct scene *self)
{
	(void)self;
	return insert_module("");
}

static void rmmod_if_there(struct __test_metadata *_metadata, struct scene *self, long answer)
{
	(void)self;
	if (!answer) {
		ASSERT_EQ(0, syscall(SYS_delete_module, "rdma", O_NONBLOCK));
	}
}

/* A copy in memory: reading it allocates nothing. */
static int copy_of(const char *path)
{
	int from = open(path, O_RDONLY | O_CLOEXEC), to = memfd_create("module", MFD_CLOEXEC);
	struct stat status;

	if (from < 0 || to < 0 || fstat(from, &status) || ftruncate(to, status.st_size))
		return -errno;
	for (off_t done = 0; done < status.st_size;) {
		char bytes[65536];
		ssize_t length = read(from, bytes, sizeof(bytes));

		if (length <= 0 || write(to, bytes, length) != length)
			return -EIO;
		done += length;
	}
	close(from);
	return to;
}

/*
 * The part of loading that is the module's own: its device numbers, class and driver. A module that only refuses its parameters shows
 * how many allocations precede it. (No device is probed; see the test above. EINVAL comes from module_add_driver, without a directory in sysfs.)
 */
TEST_F(coming, insmod)
{
	enum { MANY = 1 << 30 };
	struct scene scene = { .knob = self->knob };
	struct sweep what = { "insmod", -1, 1, NULL, call_insmod, rmmod_if_there, EINVAL };
	char override[96], driver[32];

	ASSERT_NE(NULL, getenv("RDMA_MODULE"));
	module_file = copy_of(getenv("RDMA_MODULE"));
	ASSERT_LE(0, module_file);
	snprintf(override, sizeof(override), PCI "devices/%s/driver_override", self->address);
	ASSERT_EQ(0, syscall(SYS_delete_module, "rdma", O_NONBLOCK));
	ASSERT_EQ(0, read_text(override, driver, sizeof(driver)));
	ASSERT_EQ(0, write_text(override, "none"));

	for (int i = 0; i < 2; i++) {
		arm(self->knob, MANY);
		ASSERT_EQ(-EINVAL, insert_module("dma_bits=99"));
		what.first = MANY - disarm(self->knob);
	}
	TH_LOG("the module's own begins at about site %u", what.first);
	sweep(_metadata, &scene, &what);

	/* Devices of other drivers have one. */
	ASSERT_EQ(0, write_text(override, strncmp(driver, "rdma", 4) ? "\n" : "rdma"));
	ASSERT_EQ(0, insert_module(""));
	EXPECT_EQ(0, access(NODE, F_OK));
}

TEST_F(coming, nothing_is_left)
{
	expect_nothing_left(_metadata, 3, 50);
}

TEST_HARNESS_MAIN
