/* The state of the model. Buffer, request, lane and file N are those of user N. */

#define USERS 2
#define NO_REQUEST 255

/* --- The gate: src/kernel_ext/sync/gate.rs */

bool is_open = true;	/* Gate::inside is not null */
byte inside;		/* the threads that have found it open */

/* --- Buffers: src/memory, src/kernel_ext/mm/shared_memory.rs */

#define NOT_ALLOCATED 0
#define LIVE 1
#define FREED 2
#define LEAKED 3

byte memory[USERS];	/* RevocableMemory::memory; LIVE is Some */
bool registered[USERS];	/* the registry holds the RevocableMemory */
bool is_kept[USERS];	/* Memory::leaked */
byte holders[USERS];	/* the count of Arc<Buffer> */
bool handle[USERS];	/* a handle of the file holds it */

/* --- Mappings. 0 and 1 are of the users' programs; CHILD is the copy of 0 by fork. */

#define CHILD 2
#define MAPPINGS 3
#define buffer_of(v) (v == CHILD -> 0 : v)

bool shown[MAPPINGS];	/* the page table has an entry; all of a buffer are one */
bool linked[MAPPINGS];	/* the mapping is in the reverse map, i_mmap */
bool is_walked;		/* the lock of i_mmap is held for reading */

/* --- Files */

byte files[USERS];	/* the references to the struct file: descriptor and mappings */

/* --- The queue: src/schedule, under EngineQueue::state */

#define NOWHERE 0
#define IN_LANE 1
#define IN_FLIGHT 2	/* Flight::active; it has the only slot */
#define COMPLETED 3	/* in the lane's completions, or taken from there */
#define ANSWERED 4	/* in Answer::Ended, for the thread that waits */
#define DEFERRED 5	/* in Deferred::jobs */

byte place[USERS];	/* where the request is */
bool has_lane[USERS];	/* Active::lane is Some, or it is in its lane */
bool has_waiter[USERS];	/* Job::waiter is Some */
bool holds[USERS];	/* BufferHold::buffer is Some */
byte left[USERS];	/* its transfers that have not ended */

bool lane[USERS];	/* the lane is in the queue */
bool completed[USERS];	/* the lane has a completion */
byte flight = NO_REQUEST;	/* the request that has the slot */
bool is_overdue;	/* Active::timed_out of it */
bool is_stuck;
bool is_closed;
bool deferred[USERS];	/* Deferred::memory */

/* --- Threads that wait: src/device/thread_waiter.rs, src/device/client/collect.rs */

#define NO_ANSWER 0
#define ENDED 1
#define FAILED 2

byte answer[USERS];	/* ThreadWaiter::answer */
bool has_left[USERS];	/* the thread has dropped its ThreadWaiter without an answer */

#define AWAKE 0
#define IN_TRANSFER 1
#define IN_WAIT 2

byte sleeps[USERS];	/* the wait queue that the thread is in */

/* --- The device */

#define NOTHING 0
#define LOSES 1		/* one interrupt is lost */
#define SLOW 2		/* a transfer can take longer than all timeouts */
#define ENDLESS 3	/* a transfer never ends */
#define STOPPABLE 4	/* the same, but the engine can be stopped */
#define VANISHES 5	/* from some time on, its registers read as all ones */

byte trouble;		/* what is wrong with it */
bool runs;		/* it executes a transfer */
byte accesses;		/* the buffer of the transfer */
bool is_master;		/* Bus Master is set */
bool irq;		/* an interrupt is pending */
bool is_gone;		/* its registers read as all ones */
bool is_mapped;		/* the BAR is mapped */

#define is_late_device() (trouble == SLOW || trouble == ENDLESS || trouble == STOPPABLE)

/*
 * The device can access memory at any time of a transfer. Therefore it is enough to look when memory is freed, when a transfer is started, and
 * when Bus Master is set. A device whose transfer does not end in time is assumed to ignore that Bus Master is cleared.
 */
#define may_access(b) (runs && accesses == b && (is_master || is_late_device()))

/* --- Interrupt, timer and work item: src/device/engine.rs, src/kernel_ext/driver/work.rs */

bool has_handler;	/* the interrupt handler is registered */
bool has_timer;		/* the timer is not shut down */
bool is_armed;
bool has_work;		/* the work item is not disabled */
bool is_queued;
bool in_work;
byte age;		/* of the transfer, as far as it was noticed: 0, 1 (late) or 2 (overdue) */

/* --- The unbind: src/device/bound.rs */

bool is_stopped;	/* it has closed the queue */
bool is_running;	/* QueueState::must_leak */
bool is_aborted;	/* QueueState::stopped */
bool has_failed;	/* QueueState::failure is Some */
bool is_restarting;	/* EngineQueue::restarting is held */
bool is_unbound;

byte ended;		/* programs and unbind that have ended */
byte begun;
