/* The device, and what it and the time call: interrupt handler, timer, work item. */

/* device: it ends transfers, and raises interrupts. */
proctype device() {
end:	do
	:: d_step {
		runs && trouble != ENDLESS && trouble != STOPPABLE ->
		runs = false;
		irq = irq || (is_master && !is_gone)	/* a message is a memory write, too */
	   }
	:: d_step { runs && trouble == LOSES -> trouble = NOTHING; runs = false }
	:: d_step { trouble == VANISHES -> trouble = NOTHING; is_gone = true }
	od
}

/* src/device/engine_queue.rs: oldest_slot */
#define has_oldest() (flight != NO_REQUEST && !is_aborted && !has_failed)

/* src/device/engine.rs: post, and src/device/engine/watchdog.rs: watch */
inline post(u) {
	assert(!is_stopped);		/* no transfer is started after the queue was closed for the unbind, */
	assert(lane[u]);		/* nor after the file was closed */
	assert(memory[u] == LIVE);	/* no DMA after memory is freed */
	assert(is_mapped);
	place[u] = IN_FLIGHT;
	flight = u;
	runs = true;
	accesses = u;
	age = 0;
#ifndef G06_NO_WATCHDOG
	is_armed = true
#endif
}

/* src/device/engine/reap.rs: interrupt. It is one step: if it took the lock later, that would be as if it began later. */
proctype interrupt() {
	byte u;
end:	do
	:: atomic {
		irq && has_handler ->
		irq = false;
		assert(is_mapped);	/* src/engines/engine.rs: acknowledge */
		if
		:: has_oldest() && !runs && !is_gone -> finish(true)	/* src/device/engine/reap.rs: reap */
		:: else
		fi
	   }
	od
}

/* src/device/engine/watchdog.rs: timer_expired */
inline expire(at) {
	is_armed = false;
	age = at;
	is_queued = true
}

#define has_ended() (!runs || is_gone)

/*
 * src/device/engine/watchdog.rs: timer_expired
 *
 * A transfer that ends as it should can be late on a busy host, but not overdue. The timer does not expire again while nothing has changed since
 * the last check.
 */
proctype timer() {
end:	do
	:: d_step { is_armed && has_timer && has_oldest() && age == 0 -> expire(1) }
	:: d_step { is_armed && has_timer && has_oldest() && age < 2 && runs && is_late_device() -> expire(2) }
	:: d_step { is_armed && has_timer && has_oldest() && age > 0 && has_ended() -> expire(age) }
	od
}

/* src/device/engine/watchdog.rs: check_late. The time at which it looks may be later than that of the timer. */
inline check_late() {
	do
	:: atomic {
		if
		:: has_oldest() -> recover()
		:: !has_oldest() || age == 0
		fi
	   }
	   restart_after_failure();
	   if
	   :: vanished ->
		fail_active();
		vanished = false
	   :: else
	   fi;
	   if
	   :: fails ->
		fail_waiting();
		d_step {
			fails = false;
			is_queued = true
		}
	   :: else
	   fi;
	   if
	   :: again -> again = false
	   :: else -> break
	   fi
	od
}

/* src/device/engine/watchdog.rs: recover */
inline recover() {
	assert(is_mapped);	/* src/engines/engine.rs: examine */
	age = (age == 0 -> 1 : age);
	if
	:: is_gone || !is_master ->	/* src/device/engine/watchdog.rs: close_gone, and src/device/engine/teardown.rs: mark_gone */
		is_master = false;
		is_closed = true;
		vanished = true;
		fails = true
	:: !is_gone && is_master && !runs ->
		finish(true);
		again = true
	:: !is_gone && is_master && runs && age == 2 -> fail_late()
	:: else
	fi;
	is_armed = is_armed || (flight != NO_REQUEST && !again)
}

/* src/device/engine/watchdog.rs: fail_late */
inline fail_late() {
	if
	:: trouble == STOPPABLE ->	/* src/device/engine/restart.rs: record_failure */
		has_failed = true;
		again = true
	:: else ->
		time_out(again);
		fails = again
	fi
}

/*
 * src/device/engine/restart.rs: restart_after_failure
 *
 * The transfer may have ended before the engine was suspended (src/device/engine/restart.rs: reap_before_restart). That the engine does not stop is not modelled.
 */
inline restart_after_failure() {
	if
	:: has_failed ->
		atomic { !is_restarting -> is_restarting = true }
		if
		:: has_failed && !is_aborted ->
			runs = false;	/* src/engines/engine.rs: restart */
			atomic {
				has_failed = false;
				if
				:: flight != NO_REQUEST -> finish(false)
				:: flight != NO_REQUEST -> finish(true)
				:: flight == NO_REQUEST
				fi
			}
		:: else
		fi;
		is_restarting = false
	:: else
	fi
}

/* src/device/engine.rs: work */
proctype work() {
	byte u;
	bool entered, jobs[USERS], memories[USERS], vanished, fails, again;
end:	do
	:: d_step {
		is_queued && has_work ->
		is_queued = false;
		in_work = true;
		assert(is_mapped)	/* what it works on still exists */
	   }
	   restart_after_failure();
	   check_late();
	   fail_waiting();
	   atomic { advance() }	/* src/device/engine.rs: start_next */
	   d_step {
		take_deferred(0);
		take_deferred(1)
	   }
	   drop_taken(0);
	   drop_taken(1);
	   in_work = false
	od
}
