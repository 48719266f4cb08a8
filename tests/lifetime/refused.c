// SPDX-License-Identifier: GPL-2.0
/* Devices that the driver must not bind to: each is refused with one clear message, and everything is undone. */
#include "registers.h"

#include <dirent.h>

#define DRIVERS "/sys/bus/pci/drivers/"

/* An edu has 1 MiB of registers; the memory of a display has 16 MiB. */
enum { DISPLAY_BYTES = 4096 };

FIXTURE(refused)
{
	int log;
	char address[32]; /* of the device to be refused */
	bool loaded;
};

/* The address of the device with this vendor and device number. */
static bool find(const char *vendor, const char *device, char address[32])
{
	DIR *devices = opendir("/sys/bus/pci/devices");
	struct dirent *entry;
	bool found = false;

	while (!found && (entry = readdir(devices))) {
		char path[512], numbers[2][16];

		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vendor", entry->d_name);
		if (read_text(path, numbers[0], sizeof(numbers[0])))
			continue;
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/device", entry->d_name);
		if (read_text(path, numbers[1], sizeof(numbers[1])))
			continue;
		found = !strncmp(numbers[0], vendor, 6) && !strncmp(numbers[1], device, 6);
		if (found)
			snprintf(address, 32, "%.31s", entry->d_name);
	}
	closedir(devices);
	return found;
}

static int load(const char *parameters)
{
	char command[256];

	snprintf(command, sizeof(command), "insmod %s %s", getenv("RDMA_MODULE"), parameters);
	return system(command);
}

static int attribute(const char *address, const char *name, char *text, size_t size)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, name);
	return read_text(path, text, size);
}

static int set_override(const char *address, const char *driver)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", address);
	return write_text(path, driver);
}

static bool is_bound(const char *address)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver", address);
	return !access(path, F_OK);
}

/* How many lines of the log are about this device, and how many of them are errors; the last one is printed. */
static void lines_about(struct __test_metadata *_metadata, int log, const char *address, int *lines, int *errors)
{
	char line[2048], start[64];
	ssize_t length;

	snprintf(start, sizeof(start), "rdma %s: ", address);
	*lines = *errors = 0;
	while ((length = read(log, line, sizeof(line) - 1)) > 0) {
		line[length] = '\0';
		*strchrnul(line, '\n') = '\0';
		if (!strstr(line, start))
			continue;
		TH_LOG("%s", strchr(line, ';') + 1);
		++*lines;
		*errors += (atoi(line) & 7) == 3;
	}
}

/* Nothing of the device is held any more, and it is disabled. */
static void expect_undone(struct __test_metadata *_metadata, const char *address)
{
	char text[65536];
	int config = open_config(address);

	EXPECT_FALSE(is_bound(address));
	EXPECT_EQ(0, attribute(address, "enable", text, sizeof(text)));
	EXPECT_EQ('0', text[0]);
	EXPECT_EQ(0, read_config(config, PCI_COMMAND) & PCI_COMMAND_MASTER);
	close(config);
	EXPECT_EQ(0, read_text("/proc/iomem", text, sizeof(text)));
	EXPECT_EQ(NULL, strstr(text, "rdma"));
	EXPECT_EQ(0, read_text("/proc/interrupts", text, sizeof(text)));
	EXPECT_EQ(NULL, strstr(text, "rdma"));
	EXPECT_NE(0, access(NODE, F_OK));
}

/* The device is offered to the driver and refused. */
static void expect_refused(struct __test_metadata *_metadata, FIXTURE_DATA(refused) *self)
{
	int lines, errors, answer;

	log_lines(self->log, "");
	answer = write_text(DRIVERS "rdma/bind", self->address);
	EXPECT_GT(0, answer);
	lines_about(_metadata, self->log, self->address, &lines, &errors);
	EXPECT_EQ(1, lines);
	EXPECT_EQ(1, errors);
}

/* The address of the edu itself, which must not interfere with the others. */
static void park_edu(struct __test_metadata *_metadata)
{
	char edu[32];

	ASSERT_TRUE(find("0x1234", "0x11e8", edu));
	ASSERT_EQ(0, write_text(DRIVERS "rdma/unbind", edu));
}

FIXTURE_SETUP(refused)
{
	self->log = open_log();
	ASSERT_LE(0, self->log);
}

FIXTURE_TEARDOWN(refused)
{
	if (self->address[0]) {
		set_override(self->address, "\n");
	}
	EXPECT_EQ(0, system("rmmod rdma"));
	EXPECT_NE(0, access(DRIVERS "rdma", F_OK));
}

/* Another driver works with the device afterwards. */
static void expect_usable_by_others(struct __test_metadata *_metadata, FIXTURE_DATA(refused) *self)
{
	ASSERT_EQ(0, system("modprobe pci-stub"));
	ASSERT_EQ(0, set_override(self->address, "pci-stub"));
	EXPECT_EQ(0, write_text(DRIVERS "pci-stub/bind", self->address));
	EXPECT_TRUE(is_bound(self->address));
	EXPECT_EQ(0, write_text(DRIVERS "pci-stub/unbind", self->address));
}

TEST_F(refused, too_small)
{
	ASSERT_EQ(0, load(""));
	park_edu(_metadata);
	ASSERT_TRUE(find("0x1b36", "0x0005", self->address));
	ASSERT_EQ(0, set_override(self->address, "rdma"));
	for (int i = 0; i < 3; i++) {
		expect_refused(_metadata, self);
		expect_undone(_metadata, self->address);
	}
	expect_usable_by_others(_metadata, self);
}

TEST_F(refused, something_else)
{
	ASSERT_EQ(0, load(""));
	park_edu(_metadata);
	ASSERT_TRUE(find("0x1234", "0x1111", self->address));
	ASSERT_EQ(0, set_override(self->address, "rdma"));
	for (int i = 0; i < 3; i++) {
		expect_refused(_metadata, self);
		expect_undone(_metadata, self->address);
	}
	expect_usable_by_others(_metadata, self);
}

/* It identifies as an edu, but does not behave like one. */
TEST_F(refused, not_alive)
{
	volatile void *memory;
	char path[128];
	int log = self->log;

	ASSERT_EQ(0, load(""));
	park_edu(_metadata);
	ASSERT_TRUE(find("0x1234", "0x1111", self->address));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", self->address);
	ASSERT_EQ(0, write_text(path, "1"));
	memory = map_registers(self->address, DISPLAY_BYTES);
	ASSERT_NE(NULL, memory);
	write32(memory, EDU_IDENTIFICATION, 0x010000ed);
	ASSERT_EQ(0x010000ed, read32(memory, EDU_IDENTIFICATION));
	ASSERT_EQ(0, write_text(path, "0"));

	ASSERT_EQ(0, set_override(self->address, "rdma"));
	log_lines(log, "");
	ASSERT_GT(0, write_text(DRIVERS "rdma/bind", self->address));
	EXPECT_EQ(1, log_lines(log, "not alive"));
	expect_undone(_metadata, self->address);
	expect_refused(_metadata, self);

	ASSERT_EQ(0, write_text(path, "1"));
	write32(memory, EDU_IDENTIFICATION, 0);
	ASSERT_EQ(0, write_text(path, "0"));
}

/* An edu with a foreign transfer that does not end. */
TEST_F(refused, busy)
{
	struct hog hog;
	volatile void *registers;
	char path[128];

	ASSERT_EQ(0, load(""));
	park_edu(_metadata);
	ASSERT_TRUE(find("0x1234", "0x11e8", self->address));
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", self->address);
	ASSERT_EQ(0, write_text(path, "1"));
	registers = map_registers(self->address, PAGE);
	ASSERT_NE(NULL, registers);
	ASSERT_EQ(0, start_hog(&hog, registers));
	pause_us(5000);
	expect_refused(_metadata, self);
	stop_hog(&hog);
	pause_us(TRANSFER_US);
	ASSERT_EQ(0, write_text(path, "0"));
	expect_undone(_metadata, self->address);

	/* A foreign transfer that ends is waited for. */
	ASSERT_EQ(0, write_text(path, "1"));
	start_alien_transfer(registers);
	EXPECT_EQ(0, write_text(DRIVERS "rdma/bind", self->address));
	EXPECT_EQ(0, access(NODE, F_OK));
	ASSERT_EQ(0, write_text(DRIVERS "rdma/unbind", self->address));
	ASSERT_EQ(0, write_text(path, "0"));
	expect_undone(_metadata, self->address);
	self->address[0] = '\0';
}

/* With a range without memory, loading the module fails; the next time it succeeds. */
TEST_F(refused, unreachable_memory)
{
	ASSERT_TRUE(find("0x1234", "0x11e8", self->address));
	log_lines(self->log, "");
	ASSERT_NE(0, load("dma_bits=12 2>&1"));
	EXPECT_EQ(1, log_lines(self->log, "dma_bits=12 is not between 24 and 64"));
	ASSERT_NE(0, load("dma_bits=23 2>&1"));
	EXPECT_EQ(1, log_lines(self->log, "dma_bits=23 is not between 24 and 64"));
	expect_undone(_metadata, self->address);
	ASSERT_EQ(0, load(""));
	EXPECT_TRUE(is_bound(self->address));
}

/* What this machine does not have: encrypted memory, caches that are not coherent with the device, a mask without memory. */
TEST_F(refused, injected)
{
	static const struct {
		const char *fault, *reason;
	} faults[] = {
		{ "encrypted", "memory is encrypted" },
		{ "not-coherent", "not coherent" },
		{ "out-of-reach", "no memory is below 2^28, the limit of the device" },
	};

	ASSERT_EQ(0, load(""));
	ASSERT_EQ(0, pci_address("rdma0", self->address));
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		char command[64];

		snprintf(command, sizeof(command), "attach %s", faults[i].fault);
		ASSERT_EQ(0, write_text("/sys/kernel/debug/rust_dma/rdma0/inject", command));
		ASSERT_EQ(0, write_text(DRIVERS "rdma/unbind", self->address));
		log_lines(self->log, "");
		EXPECT_EQ(-ENODEV, write_text(DRIVERS "rdma/bind", self->address));
		EXPECT_EQ(1, log_lines(self->log, faults[i].reason)) TH_LOG("%s", faults[i].fault);
		EXPECT_FALSE(is_bound(self->address));
		/* This was the only reason. */
		ASSERT_EQ(0, write_text(DRIVERS "rdma/bind", self->address));
		EXPECT_EQ(0, access(NODE, F_OK));
	}
	FIGURE("%zu reasons, injected", "each refused, and in the log", ARRAY_SIZE(faults));
}

/* The check itself: a valid device. */
TEST_F(refused, but_not_a_good_one)
{
	int lines, errors;
	char text[16], edu[32];

	ASSERT_EQ(0, load(""));
	ASSERT_TRUE(find("0x1234", "0x11e8", edu));
	EXPECT_TRUE(is_bound(edu));
	ASSERT_EQ(0, attribute(edu, "enable", text, sizeof(text)));
	EXPECT_EQ('1', text[0]);
	EXPECT_EQ(0, access(NODE, F_OK));
	lines_about(_metadata, self->log, edu, &lines, &errors);
	EXPECT_EQ(1, lines);
	EXPECT_EQ(0, errors);
	ASSERT_EQ(0, write_text(DRIVERS "rdma/unbind", edu));
	expect_undone(_metadata, edu);
}

TEST_HARNESS_MAIN
