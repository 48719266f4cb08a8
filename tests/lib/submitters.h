/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that submit requests to one context, until they are stopped. */
#ifndef SUBMITTERS_H
#define SUBMITTERS_H

#include "requests.h"

enum { SUBMITTERS = 4 };

struct submitter {
	pthread_t thread;
	int fd;
	const struct buffer *buffer;
	bool cancels; /* what it and the others have submitted, after each call */
	const bool *enough;
	long accepted, wrong;
};

struct submitters {
	struct submitter all[SUBMITTERS];
	bool enough;
};

static inline void *submitter_thread(void *argument)
{
	struct submitter *self = argument;

	for (int i = 0; !__atomic_load_n(self->enough, __ATOMIC_RELAXED); i++) {
		int answer = submit_many(self->fd, self->buffer, 1 + i % 97, 0);

		self->accepted += answer > 0 ? answer : 0;
		self->wrong += answer <= 0 && answer != -EAGAIN;
		if (self->cancels)
			self->wrong += cancel_all(self->fd) < 0;
	}
	return NULL;
}

static inline int start_submitters(struct submitters *submitters, int fd, const struct buffer *buffer, bool cancels)
{
	submitters->enough = false;
	for (int i = 0; i < SUBMITTERS; i++) {
		struct submitter *one = &submitters->all[i];
		int error;

		*one = (struct submitter){ .fd = fd, .buffer = buffer, .cancels = cancels, .enough = &submitters->enough };
		error = -pthread_create(&one->thread, NULL, submitter_thread, one);
		if (error)
			return error;
	}
	return 0;
}

/* Returns how many requests were accepted in all, or an error if a call had a wrong result. */
static inline long stop_submitters(struct submitters *submitters)
{
	long accepted = 0, wrong = 0;

	__atomic_store_n(&submitters->enough, true, __ATOMIC_RELAXED);
	for (int i = 0; i < SUBMITTERS; i++) {
		pthread_join(submitters->all[i].thread, NULL);
		accepted += submitters->all[i].accepted;
		wrong += submitters->all[i].wrong;
	}
	return wrong ? -EPROTO : accepted;
}

#endif
