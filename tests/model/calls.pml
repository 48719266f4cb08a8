/* Programs: their system calls, page faults, and ends. `me` and the other variables without declaration are those of the thread. */

#define MAP 1		/* mmap, and an access */
#define FORK 2
#define TRANSFER 4
#define SUBMIT 8
#define SIGNAL 64	/* one that ends a wait */
#define FREE 16		/* and it can stay without a further call */
#define ALLOCATE 32	/* while the unbind runs; otherwise, it has the buffer from the beginning */

#define calls(u) (u == 0 -> CALLS_0 : CALLS_1)

/* src/file/context.rs: free */
inline free() {
	d_step {
		if
		:: is_open ->
			handle[me] = false;
#if defined(G01_FREED_WITH_THE_HANDLE) || defined(G02_FREED_WHILE_MAPPED)
			take_memory(me);
#endif
			put_buffer(me)
		:: else
		fi
	}
	end_drop(me)
}

/* --- Mappings */

/* src/kernel_ext/mm/vma.rs: mapped, and src/file/context.rs: map */
inline map() {
	d_step {
		!is_walked ->
		was_mapped = true;
		if
		:: is_open ->
			holders[me]++;
			files[me]++;
			linked[me] = true
		:: else
		fi
	}
}

/* kernel: munmap, which empties and unlinks the mapping first; then src/kernel_ext/mm/vma.rs: close. */
inline unmap(v) {
	d_step {
		!is_walked ->
		shown[v] = false;
		linked[v] = false;
		put_buffer(buffer_of(v))
	}
	end_drop(buffer_of(v));
	put_file(buffer_of(v))
}

/*
 * kernel: dup_mmap, which calls src/kernel_ext/mm/vma.rs: open, links the copy, and then copies the entries. copy_huge_pmd reads the entry without
 * the lock.
 */
inline fork() {
	d_step {
		!is_walked ->
		was_forked = true;
		begun++;
		holders[0]++;
#ifdef G16_KEPT_BY_A_COPY
		holders[0]++;
#endif
		files[0]++;
#ifndef COPIES_HUGE_PAGES
		shown[0] = false;	/* src/kernel_ext/mm/vma.rs: zap_parent */
#endif
		linked[CHILD] = true
	}
	copied = shown[0];
	d_step {
		if
		:: copied -> insert(CHILD)
		:: else
		fi;
		copied = false
	}
	run child()
}

/* --- Requests */

/* src/device/engine.rs: submit, and src/schedule/queue.rs: submit; of a request with two transfers */
inline enqueue(has_thread) {
	d_step {
		was_requested = true;
		holders[me]++;		/* src/memory/hold.rs: new */
		holds[me] = true;
		left[me] = TRANSFERS;
		enter();
		is_refused = !entered
	}
	if
	:: entered ->
		atomic {
			is_refused = refuses();
			if
			:: is_refused
			:: else ->
				place[me] = IN_LANE;
				has_lane[me] = true;
				has_waiter[me] = has_thread;
				advance()
			fi;
			leave()
		}
	:: else
	fi;
	if
	:: is_refused ->
		d_step { drop_hold(me) }
		end_drop(me)
	:: else
	fi
}

/* src/device/client/transfer.rs: transfer */
inline transfer() {
	enqueue(true);
	if
	:: is_refused
	:: else -> wait()
	fi;
	is_refused = false
}

/* src/device/thread_waiter.rs: wait. Whether a signal comes is decided before. */
inline wait() {
	if
	:: calls(me) & SIGNAL -> is_signalled = true
	:: true
	fi;
	do
	:: atomic {
		if
		:: answer[me] != NO_ANSWER -> take_answer(); break
		:: else -> sleeps[me] = IN_TRANSFER
		fi
	   }
	   if
	   :: sleeps[me] == AWAKE
	   :: is_signalled ->
		abandon_wait();
		break
	   fi
	od;
	end_drop(me);
	is_signalled = false
}

/* src/device/client/transfer.rs: outcome. Answer::Ended contains the request, Answer::Failed does not. */
inline take_answer() {
	if
	:: answer[me] == ENDED ->
		place[me] = NOWHERE;
		drop_hold(me)
	:: else
	fi;
	answer[me] = NO_ANSWER
}

/* src/device/client/transfer.rs: abandon_wait, and src/schedule/queue.rs: abandon_wait */
inline abandon_wait() {
	atomic {
		sleeps[me] = AWAKE;
		if
		:: answer[me] != NO_ANSWER -> take_answer()
		:: answer[me] == NO_ANSWER && flight == me -> abandon(me)
		:: answer[me] == NO_ANSWER && place[me] == IN_LANE ->
			place[me] = NOWHERE;
			abandon(me);
			drop_hold(me)
		:: else -> has_left[me] = true	/* leak_and_fail() has the request */
		fi
	}
}

/* src/device/client/reservation.rs: submit */
inline submit() {
	enqueue(false);
	d_step {
		collects = !is_refused;
		is_refused = false
	}
}

/* src/device/client/collect.rs: collect. Whether a signal comes is decided before. */
inline collect() {
	if
	:: calls(me) & SIGNAL -> is_signalled = true
	:: true
	fi;
	do
	:: atomic {	/* src/device/client/collect.rs: is_enough */
		if
		:: completed[me] || (is_closed && !has_lane[me]) -> break
		:: else -> sleeps[me] = IN_WAIT
		fi
	   }
	   if
	   :: sleeps[me] == AWAKE
	   :: is_signalled -> sleeps[me] = AWAKE; break
	   fi
	od;
	is_signalled = false
}

/* --- Closing the file */

/* kernel: fput; for the last reference, it calls src/kernel_ext/fs/chrdev/operations.rs: release */
inline put_file(f) {
	d_step {
		files[f]--;
		if
		:: files[f] == 0 ->
			drop_client(f);
			drop_handle(f)
		:: else
		fi
	}
	end_drop(f)
}

/* src/device/client.rs: drop, and src/schedule/queue.rs: remove_lane. It drops the requests that wait, and the completions. */
inline drop_client(f) {
	lane[f] = false;
	if
	:: flight == f && has_lane[f] -> abandon(f)
	:: place[f] == IN_LANE || place[f] == COMPLETED ->
		place[f] = NOWHERE;
		abandon(f);
#ifdef G09_LANE_KEPT
		skip
#else
		drop_hold(f)
#endif
	:: else
	fi
}

/* src/file/context.rs: Context. If the request of the lane was the last to hold the buffer, there is no handle. */
inline drop_handle(f) {
	if
	:: handle[f] ->
		handle[f] = false;
#ifdef G01_FREED_WITH_THE_HANDLE
		take_memory(f);
#endif
		put_buffer(f)
	:: else
	fi
}

/* --- The programs */

/* A program with one thread. It calls what it may, once each, in any order. It can exit at any time. */
proctype user(byte me) {
	byte u;
	bool entered, is_signalled, is_refused, has_file = true, was_mapped, was_loaded, was_forked, was_requested, collects, copied;

	d_step {
		if
		:: calls(me) & ALLOCATE -> allocate(me)
		:: else
		fi
	}
	do
	:: (calls(me) & MAP) && has_file && handle[me] && !was_mapped -> map()
	:: linked[me] && !was_loaded -> was_loaded = true; fault(me)
	:: (calls(me) & FORK) && linked[me] && !was_forked -> fork()
	:: linked[me] -> unmap(me)
	:: (calls(me) & TRANSFER) && has_file && handle[me] && !was_requested -> transfer()
	:: (calls(me) & SUBMIT) && has_file && handle[me] && !was_requested -> submit()
	:: collects && has_file -> collects = false; collect()
	:: (calls(me) & FREE) && has_file && handle[me] && is_open -> free()
	:: has_file -> has_file = false; put_file(me)
	:: !has_file && !linked[me] -> break
	:: calls(me) & FREE -> break	/* It stays. */
	od;
	ended++
}

/* The child of user 0, with a copy of its mapping. */
proctype child() {
	bool entered;

	if
	:: fault(CHILD)
	:: true
	fi;
	unmap(CHILD);
	ended++
}
