/*
 * The gate, the memory of buffers, and mappings. `entered` is a variable of the thread: it is inside the gate.
 *
 * A thread leaves the gate in the last step inside it: to leave later would only delay the unbind.
 */

/*
 * src/kernel_ext/sync/gate.rs: with
 *
 * Loading the pointer and counting the reader are one step: if the pointer is not null, the SRCU section has begun before the grace period of
 * `close`, which waits for it.
 */
inline enter() {
	entered = is_open;
	inside = inside + is_open
}

/* src/kernel_ext/sync/gate.rs: with */
inline leave() {
	entered = false;
	inside--
}

/* src/kernel_ext/sync/gate.rs: close */
inline close_gate() {
	is_open = false;
#ifndef KUNIT_GATE
	inside == 0	/* SRCU */
#endif
}

/* src/memory/buffer.rs: new, and src/memory/pool.rs: allocate. It is one step, because no other thread knows the buffer. */
inline allocate(b) {
	if
	:: is_open ->
		memory[b] = LIVE;
		registered[b] = true;	/* src/memory/registry.rs: insert */
		holders[b] = 1;
		handle[b] = true
	:: else
	fi
}

#define is_shown(b) (shown[b] || (b == 0 && shown[CHILD]))

/* src/kernel_ext/mm/shared_memory.rs: take, and src/kernel_ext/mm/coherent.rs: drop */
inline take_memory(b) {
	if
	:: memory[b] == LIVE && is_kept[b] -> memory[b] = LEAKED
	:: memory[b] == LIVE && !is_kept[b] ->
		assert(!is_shown(b));	/* no page is mapped after it is freed */
		assert(!may_access(b));	/* no DMA after memory is freed */
		memory[b] = FREED
	:: else
	fi
}

/* src/kernel_ext/mm/shared_memory.rs: drop, of the RevocableMemory, unless the registry holds it */
inline drop_memory(b) {
	if
	:: memory[b] == LIVE && !registered[b] -> memory[b] = LEAKED
	:: else
	fi
}

/* src/memory/buffer.rs: drop, and src/memory/pool.rs: free, of a buffer without holders: the first step */
inline begin_drop(b) {
	enter();
	if
	:: entered
	:: else -> drop_memory(b)
	fi
}

/* src/memory/pool.rs: free, the rest of it */
inline end_drop(b) {
	if
	:: entered ->
#ifdef G09_ENTERED_TWICE
		registered[b] = false;
		d_step {
			if
			:: is_open -> take_memory(b)
			:: else
			fi;
#else
		d_step {
			take_memory(b);		/* src/kernel_ext/mm/shared_memory.rs: free */
			registered[b] = false;	/* src/memory/registry.rs: remove */
#endif
			drop_memory(b);
			leave()
		}
	:: else
	fi
}

/* Drops a reference. src/memory/buffer.rs: drop, after the last one. The thread continues with `end_drop`. */
inline put_buffer(b) {
	holders[b]--;
	if
	:: holders[b] == 0 -> begin_drop(b)
	:: else
	fi
}

/* src/memory/registry.rs: revoke_all, and src/kernel_ext/mm/shared_memory.rs: revoke. What was taken from the registry is still held. */
inline revoke(b) {
	if
	:: registered[b] ->
		take_memory(b);
		registered[b] = false
	:: else
	fi
}

/* src/kernel_ext/mm/vma/fault.rs: load */
inline insert(v) {
	assert(memory[buffer_of(v)] != FREED);	/* no page is mapped after it is freed */
	shown[v] = true
}

/* src/kernel_ext/mm/vma.rs: fault, and src/kernel_ext/mm/shared_memory.rs: with_layout */
inline fault(v) {
#ifdef G02_FAULT_OUTSIDE_THE_GATE
	d_step { insert(v) }
#else
	d_step { enter() }
	if
	:: entered ->
		d_step {
			insert(v);
			leave()
		}
	:: else	/* SIGBUS */
	fi
#endif
}

/* kernel: unmap_mapping_range, called by src/kernel_ext/mm/address_space.rs: zap. A copy is behind its original in i_mmap. */
inline zap_all() {
#ifdef G02_NO_ZAP
	skip
#else
	is_walked = true;
	shown[0] = shown[0] && !linked[0];
	shown[CHILD] = shown[CHILD] && !linked[CHILD];
	d_step {
		shown[1] = shown[1] && !linked[1];
		is_walked = false
	}
#endif
}
