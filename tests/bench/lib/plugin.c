// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU's TCG: counts all instructions that the guest's one CPU executes between two marks (marker.h), those of programs and
 * those of the kernel. The end of each phase is a line in the file of the option `out`: PHASE PROGRAMS KERNEL AWAKE. The last one is the
 * number of instructions since the CPU was last halted, or 0 if it was not in this phase.
 *
 * Debian's QEMU has no qemu-plugin.h: the used part of it is declared here. Source: QEMU, include/plugins/qemu-plugin.h; version 4 of the
 * interface is that of QEMU 10.0, and version 7 that of QEMU 11.1, which accepts no older ones.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct {
	const char *target_name;
	struct {
		int min, cur;
	} version;
	bool system_emulation;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;

enum { QEMU_PLUGIN_INLINE_ADD_U64 = 0, QEMU_PLUGIN_CB_NO_REGS = 0 };

#if INTERFACE == 4
#define TRANSLATED(tb) translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
#define REGISTER(id) qemu_plugin_register_vcpu_tb_trans_cb(id, translated)
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
#else
#define TRANSLATED(tb) translated(struct qemu_plugin_tb *tb, void *id)
#define REGISTER(id) qemu_plugin_register_vcpu_tb_trans_cb(id, translated, NULL)
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(struct qemu_plugin_tb *, void *), void *data);
#endif
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned int, void *), int flags,
					    void *data);
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *insn, int op, qemu_plugin_u64 entry,
							 uint64_t value);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *bytes, size_t length);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *score, unsigned int cpu);

__attribute__((visibility("default"))) int qemu_plugin_version = INTERFACE;

struct counts {
	uint64_t programs, kernel;
};

static struct qemu_plugin_scoreboard *score;
static struct counts at_begin[256], at_halt;
static FILE *out;

static uint64_t total(const struct counts *counts)
{
	return counts->programs + counts->kernel;
}

static void mark(unsigned int cpu, void *data)
{
	unsigned int phase = (uintptr_t)data >> 8, end = (uintptr_t)data & 0xff;
	struct counts *now = qemu_plugin_scoreboard_find(score, cpu);

	if (!end) {
		at_begin[phase] = *now;
		return;
	}
	fprintf(out, "%u %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", phase, now->programs - at_begin[phase].programs,
		now->kernel - at_begin[phase].kernel, at_halt.kernel > at_begin[phase].kernel ? total(now) - total(&at_halt) : 0);
	fflush(out);
}

static void halt(unsigned int cpu, void *data)
{
	(void)data;
	at_halt = *(struct counts *)qemu_plugin_scoreboard_find(score, cpu);
}

static bool is_halt(const struct qemu_plugin_insn *insn)
{
	unsigned char byte;

	return qemu_plugin_insn_size(insn) == 1 && qemu_plugin_insn_data(insn, &byte, 1) == 1 && byte == 0xf4;
}

/* Whether an instruction is a mark; its number is stored in *data. */
static bool is_mark(const struct qemu_plugin_insn *insn, uintptr_t *data)
{
	static const unsigned char nopl[] = { 0x0f, 0x1f, 0x80 }, magic[] = { 0xa0, 0x5d };
	unsigned char bytes[7];

	if (qemu_plugin_insn_size(insn) != sizeof(bytes) || qemu_plugin_insn_data(insn, bytes, sizeof(bytes)) != sizeof(bytes))
		return false;
	*data = bytes[4] << 8 | bytes[3];
	return !memcmp(bytes, nopl, sizeof(nopl)) && !memcmp(bytes + 5, magic, sizeof(magic));
}

static void TRANSLATED(tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		bool kernel = qemu_plugin_insn_vaddr(insn) >> 63;
		qemu_plugin_u64 count = { score, kernel ? offsetof(struct counts, kernel) : offsetof(struct counts, programs) };
		uintptr_t data;

		qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(insn, QEMU_PLUGIN_INLINE_ADD_U64, count, 1);
		if (is_mark(insn, &data))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, QEMU_PLUGIN_CB_NO_REGS, (void *)data);
		if (is_halt(insn))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, halt, QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++)
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	if (!out) {
		perror("plugin: out=FILE");
		return 1;
	}
	score = qemu_plugin_scoreboard_new(sizeof(struct counts));
	REGISTER(id);
	return 0;
}
