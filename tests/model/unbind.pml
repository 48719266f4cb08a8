/* The unbind of the device, and the probe after it. */

/* src/device/engine/teardown.rs: stop and src/device/engine/teardown.rs: abort, with src/engines/engine.rs: abort and src/engines/engine.rs: wait_idle */
inline stop_hardware() {
#ifdef G01_NOBODY_WAITS
	skip
#else
	d_step {
		!is_restarting && (!runs || is_gone || is_late_device()) ->
		if
		:: trouble == STOPPABLE ->
			runs = false;
			is_aborted = true
		:: else ->
			is_running = runs && !is_gone;
			is_aborted = !is_running
		fi
	}
#endif
}

/* src/device/engine/teardown.rs: leak_and_fail */
inline leak_and_fail() {
	d_step {	/* src/schedule/recovery.rs: take_active */
		taken = flight;
		flight = NO_REQUEST;
		is_overdue = false
	}
	if
	:: taken != NO_REQUEST ->
#ifdef LEAKS_NOTHING
		skip;
#else
		is_kept[taken] = holds[taken];	/* src/memory/hold.rs: leak */
#endif
		atomic {	/* src/schedule/recovery.rs: fail_taken */
			complete(taken);
			if
			:: has_left[taken] ->
				/* The notice has the last reference to the ThreadWaiter, and to the request in it. */
				answer[taken] = NO_ANSWER;
				place[taken] = NOWHERE;
				drop_hold(taken)
			:: else
			fi
		}
		end_drop(taken)
	:: else
	fi
}

/* src/device/bound.rs: stop, of a device with one engine */
inline stop() {
	d_step {	/* src/device/engine/teardown.rs: close, and src/device/engine_queue.rs: close */
		is_closed = true;
		is_stopped = true
	}
	fail_waiting();
#ifdef G07_WAITS_FOR_FILES
	files[0] == 0 && files[1] == 0;
#endif
#if (CALLS_0 | CALLS_1) & MAP
	zap_all();
#endif
	stop_hardware();
#ifndef WATCHDOG_NOT_STOPPED
	is_aborted = true;	/* src/device/engine/teardown.rs: stop_for_unbind */
#endif
	is_master = false;	/* src/device/engine/teardown.rs: clear_master */
	if
	:: is_running -> leak_and_fail()
	:: else
	fi;
	fail_active();		/* src/device/engine/teardown.rs: fail_requests */
	fail_waiting();
	d_step {
		take_deferred(0);
		take_deferred(1)
	}
	drop_taken(0);
	drop_taken(1);
	d_step {	/* No other thread frees memory any more. */
		revoke(0);
		revoke(1)
	}
}

/* src/driver.rs: probe, as far as it concerns a transfer that was started before */
inline probe() {
	d_step {
#ifndef G01_NOBODY_WAITS
		!runs || is_gone || is_late_device();	/* src/engines/engine.rs: wait_idle */
		is_master = !runs && !is_gone;
#else
		is_master = true;
#endif
		assert(!may_access(0) || memory[0] != FREED);	/* no DMA after memory is freed */
		assert(!may_access(1) || memory[1] != FREED);
		is_unbound = true;
		ended++
	}
}

/* src/kernel_ext/driver/attach.rs: drop, and src/kernel_ext/driver/attach.rs: detach */
proctype unbind() {
	byte u, taken = NO_REQUEST;
	bool entered, jobs[USERS], memories[USERS];

	close_gate();
	stop();
	/* The other fields of Attached: interrupt handler, timer and work item, BAR. */
	d_step {
		has_handler = false;
#ifndef REFUSED_WORK_LEAKED
		has_timer = false	/* src/kernel_ext/driver/work.rs: drop */
#endif
	}
	d_step {
#ifndef REFUSED_WORK_LEAKED
		!in_work ->
		has_work = false;
		is_queued = false;
#endif
		is_mapped = false
	}
	probe()
}
