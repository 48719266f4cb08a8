/*
 * The teardown of a device, with two programs that use it. README.md describes what is modelled, and `run` checks it.
 *
 * The comment at each step names the function of the driver that it stands for. `kernel:` and `device:` stand for what is not the driver's.
 *
 * CALLS_0, CALLS_1: the calls that each program may make (calls.pml). TROUBLE: what can be wrong with the device, from NOTHING to this value
 * (state.pml). A name of a seeded bug in tests/mutants, in capitals, as in G02_NO_ZAP, puts it into the model.
 */
#include "state.pml"
#include "memory.pml"
#include "queue.pml"
#include "engine.pml"
#include "calls.pml"
#include "unbind.pml"

/* Every buffer was freed once, or something still holds it. Memory is leaked only if the device may still write to it. */
inline check(b) {
	assert(memory[b] != LEAKED || is_kept[b]);
	assert(!is_unbound || memory[b] != LIVE);
	assert(memory[b] != LIVE || handle[b] || linked[b] || (b == 0 && linked[CHILD]) || (flight == b && runs))
}

/* kernel: it starts all, and looks at what is left when nothing can happen any more. */
init {
	atomic {
		is_master = true;
		is_mapped = true;
		has_handler = true;
		has_timer = true;
		has_work = true;
		begun = USERS;
		lane[0] = true;
		lane[1] = true;
		if
		:: CALLS_0 & ALLOCATE
		:: else -> allocate(0)
		fi;
		if
		:: CALLS_1 & ALLOCATE
		:: else -> allocate(1)
		fi;
		files[0] = 1;
		files[1] = 1;
		trouble = TROUBLE;
		run user(0);
		run user(1);
		run interrupt();
		run timer();
		run work();
		run device();
		if
		:: begun++; run unbind()
		:: true
		fi
	}
	timeout;
	assert(ended == begun);	/* no thread waits, nor does the unbind */
	check(0);
	check(1)
}
