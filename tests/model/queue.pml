/*
 * The queue: src/schedule, and src/device/engine_queue.rs. What holds EngineQueue::state is one step. A notice is delivered in the same step: until then,
 * the thread that it wakes could only sleep on.
 *
 * `u`, `jobs` and `memories` are variables of the thread.
 */

#define refuses() (is_closed || is_stuck)
#define has_deferred() (place[0] == DEFERRED || place[1] == DEFERRED || deferred[0] || deferred[1])

#ifdef POSTS_AFTER_CLOSE
#define may_issue(u) (flight == NO_REQUEST && !has_failed && place[u] == IN_LANE && !is_stuck)
#else
#define may_issue(u) (flight == NO_REQUEST && !has_failed && place[u] == IN_LANE && !refuses())
#endif

/* src/device/types.rs: deliver, and src/kernel_ext/sync/wait.rs: wake */
inline wake(u, queue) {
	sleeps[u] = (sleeps[u] == queue -> AWAKE : sleeps[u])
}

/* src/memory/buffer.rs: release, called by src/memory/hold.rs: release */
inline release_hold(u) {
#ifdef G09_COMPLETION_KEEPS_MEMORY
	skip
#else
	if
	:: holds[u] ->
		holds[u] = false;
		holders[u]--;
		deferred[u] = holders[u] == 0
	:: else
	fi
#endif
}

/* src/schedule/turns.rs: complete, and src/schedule/lane.rs: complete */
inline complete(u) {
	if
	:: !has_lane[u] -> place[u] = DEFERRED
	:: has_lane[u] && has_waiter[u] ->
		place[u] = ANSWERED;
		answer[u] = ENDED;
		wake(u, IN_TRANSFER)
	:: else ->
		place[u] = COMPLETED;
		completed[u] = true;
		release_hold(u);
		wake(u, IN_WAIT)
	fi;
	has_lane[u] = false;
	has_waiter[u] = false
}

/* src/schedule/recovery.rs: abandon */
inline abandon(u) {
	has_lane[u] = false;
	has_waiter[u] = false
}

/* src/schedule/recovery.rs: time_out_active, of a request with a waiter */
inline fail_waiter(u) {
	answer[u] = FAILED;
	wake(u, IN_TRANSFER);
	abandon(u)
}

/* src/schedule/turns.rs: end */
inline end_request(u) {
	flight = NO_REQUEST;
	is_overdue = false;
	is_stuck = false;
	complete(u)
}

/* src/device/engine/reap.rs: finish, and src/schedule/turns.rs: finish */
inline finish(has_succeeded) {
	u = flight;
	if
	:: !has_succeeded ->
		is_queued = true;
		end_request(u)
	:: has_succeeded && is_overdue -> end_request(u)	/* src/schedule/turns.rs: finish_timed_out */
	:: else ->
		left[u]--;
		if
		:: !has_lane[u] || left[u] == 0 || is_closed -> end_request(u)
		:: else ->	/* src/schedule/turns.rs: return_to_lane */
			flight = NO_REQUEST;
			place[u] = IN_LANE
		fi
	fi;
	u = 0;
	advance()
}

/* src/device/engine.rs: advance, and src/schedule/turns.rs: issue. Whose turn it is depends on much; here it can be that of any lane. */
inline advance() {
	if
	:: may_issue(0) -> post(0)
	:: may_issue(1) -> post(1)
	:: else
	fi;
	is_queued = is_queued || has_deferred()
}

/* src/schedule/recovery.rs: time_out. has_timed_out: it returns Some. */
inline time_out(has_timed_out) {
	has_timed_out = !is_overdue;
	if
	:: is_overdue || !has_lane[flight]
	:: !is_overdue && has_lane[flight] && has_waiter[flight] -> fail_waiter(flight)
	:: else ->
		completed[flight] = true;
		wake(flight, IN_WAIT);
		abandon(flight)
	fi;
	is_stuck = true;
	is_overdue = true
}

/* src/schedule/lanes.rs: fail_batch. If the queue is closed, it notifies also the owner of a lane without requests. */
inline fail_lane(u) {
	d_step {
		if
		:: lane[u] && refuses() && place[u] == IN_LANE -> complete(u)
		:: lane[u] && is_closed && place[u] != IN_LANE -> wake(u, IN_WAIT)
		:: else
		fi
	}
}

/* src/device/engine_queue.rs: fail_waiting, and src/schedule/queue.rs: fail_batch */
inline fail_waiting() {
	if
	:: refuses() ->
		fail_lane(0);
		fail_lane(1)
	:: else
	fi
}

/* src/device/engine_queue.rs: fail_active, and src/schedule/recovery.rs: fail_one_active. The queue is closed. */
inline fail_active() {
	d_step {
		if
		:: flight != NO_REQUEST ->
			u = flight;
			flight = NO_REQUEST;
			is_overdue = false;
			complete(u);
			u = 0
		:: else
		fi
	}
}

/* src/device/engine_queue.rs: drop_deferred, and src/schedule/queue.rs: take_deferred */
inline take_deferred(n) {
	jobs[n] = place[n] == DEFERRED;
	place[n] = (place[n] == DEFERRED -> NOWHERE : place[n]);
	memories[n] = deferred[n];
	deferred[n] = false
}

/* src/device/engine_queue.rs: drop_deferred */
inline drop_taken(n) {
	if
	:: jobs[n] ->
		d_step {
			jobs[n] = false;
			drop_hold(n)
		}
		end_drop(n)
	:: else
	fi;
	if
	:: memories[n] ->
		d_step {
			memories[n] = false;
			begin_drop(n)
		}
		end_drop(n)
	:: else
	fi
}

/* src/memory/hold.rs: drop. The thread continues with `end_drop`. */
inline drop_hold(u) {
	if
	:: holds[u] ->
		holds[u] = false;
		put_buffer(u)
	:: else
	fi
}
