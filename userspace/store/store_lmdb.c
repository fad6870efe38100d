// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buckets or bans in an LMDB environment, the file buckets.mdb or bans.mdb.
 *
 * A commit waits for the disk, which may take seconds: a thread of its own does all work on the file (lmdb_file.h), job
 * by job, and the loop only hands over and takes back.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/privileges.h"
#include "store/lmdb_file.h"
#include "store/store_ops.h"

#define WINDOW 64 /* jobs that write; all of them make one transaction at most */

enum job_kind { JOB_OPEN, JOB_WRITE, JOB_WRITE_META, JOB_READ_META, JOB_COUNT, JOB_SCAN };

struct job {
	struct job *next;
	enum job_kind kind;
	uint64_t started_ns;
	int error;
	char text[300];
	bool is_open; /* whether the file was, at the end */
	eb_store_done done;
	eb_store_meta_done meta_done;
	void *arg;
	uint64_t fields_set, fields_deleted;
	int64_t grown;
	uint64_t fields;
	struct eb_store_meta meta;
	uint64_t expire_in_ns;
	/* JOB_SCAN, chunk by chunk */
	eb_store_visit visit;
	struct eb_lmdb_chunk *chunk;
	/* JOB_WRITE */
	size_t count;
	struct eb_store_item items[];
};

struct queue {
	struct job *first, **end;
};

struct store_lmdb {
	struct eb_store base;
	bool read_only;
	sd_event_source *source;
	int depth;
	bool freed, is_up, was_told, was_full, is_scanning, has_thread;
	bool is_held;
	struct job *held; /* a scan whose next step is due */
	size_t in_flight;
	pthread_t thread;

	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t wake;
	struct queue todo, done;
	bool stop;
	int fd; /* eventfd: written when done is not empty */

	struct eb_lmdb_file *file; /* the thread's own, while it runs */
};

static struct store_lmdb *self(const struct eb_store *store)
{
	return (struct store_lmdb *)store;
}

static void queue_init(struct queue *queue)
{
	queue->first = NULL;
	queue->end = &queue->first;
}

static void queue_add(struct queue *queue, struct job *job)
{
	job->next = NULL;
	*queue->end = job;
	queue->end = &job->next;
}

static struct job *queue_take(struct queue *queue)
{
	struct job *job = queue->first;

	if (job && !(queue->first = job->next))
		queue->end = &queue->first;
	return job;
}

static void free_job(struct job *job)
{
	eb_lmdb_chunk_free(job->chunk);
	free(job);
}

/* ---- the thread ---- */

static bool is_write(const struct job *job)
{
	return job->kind == JOB_WRITE || job->kind == JOB_WRITE_META;
}

/* All jobs of the list, which write, in one transaction. */
static int write_jobs(struct eb_lmdb_file *file, struct job *jobs)
{
	int err = eb_lmdb_file_begin(file);

	if (err)
		return err;
	for (; !err && jobs; jobs = jobs->next)
		err = jobs->kind == JOB_WRITE ? eb_lmdb_file_put(file, jobs->items, jobs->count, &jobs->grown)
					      : eb_lmdb_file_put_meta(file, &jobs->meta, jobs->expire_in_ns);
	return eb_lmdb_file_commit(file, err);
}

static int run_job(struct store_lmdb *store, struct job *job)
{
	switch (job->kind) {
	case JOB_SCAN:
		return eb_lmdb_file_read(store->file, job->chunk);
	case JOB_READ_META:
		return eb_lmdb_file_read_meta(store->file, &job->meta);
	case JOB_COUNT:
		return eb_lmdb_file_count(store->file, &job->fields);
	default:
		return 0;
	}
}

/* Runs `jobs`, a list of one, or of several that write. */
static void run_group(struct store_lmdb *store, struct job *jobs)
{
	struct eb_lmdb_file *file = store->file;
	int err = eb_lmdb_file_open(file);

	if (!err)
		err = is_write(jobs) ? write_jobs(file, jobs) : run_job(store, jobs);
	for (; jobs; jobs = jobs->next) {
		jobs->error = eb_lmdb_file_fail(file, err, jobs->text, sizeof(jobs->text));
		jobs->is_open = eb_lmdb_file_is_open(file);
	}
}

/* Under the lock. */
static struct job *take_group(struct store_lmdb *store)
{
	struct queue group;

	queue_init(&group);
	do
		queue_add(&group, queue_take(&store->todo));
	while (is_write(group.first) && store->todo.first && is_write(store->todo.first));
	return group.first;
}

static void *run(void *arg)
{
	struct store_lmdb *store = arg;
	uint64_t one = 1;

	eb_privileges_drop_thread();
	pthread_mutex_lock(&store->lock);
	while (!store->stop) {
		struct job *jobs, *next;

		if (!store->todo.first) {
			pthread_cond_wait(&store->wake, &store->lock);
			continue;
		}
		jobs = take_group(store);
		pthread_mutex_unlock(&store->lock);
		run_group(store, jobs);
		pthread_mutex_lock(&store->lock);
		for (; jobs; jobs = next) {
			next = jobs->next;
			queue_add(&store->done, jobs);
		}
		(void)!write(store->fd, &one, sizeof(one)); /* cannot fail: the counter never comes near its end */
	}
	pthread_mutex_unlock(&store->lock);
	eb_lmdb_file_close(store->file);
	return NULL;
}

/* ---- the loop ---- */

static void leave(struct store_lmdb *store)
{
	if (--store->depth || !store->freed)
		return;
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	eb_lmdb_file_free(store->file);
	free(store);
}

static void submit(struct store_lmdb *store, struct job *job)
{
	pthread_mutex_lock(&store->lock);
	queue_add(&store->todo, job);
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
}

static int new_job(struct store_lmdb *store, enum job_kind kind, size_t items, void *arg, struct job **out)
{
	struct job *job;

	if ((kind == JOB_WRITE || kind == JOB_WRITE_META) && store->read_only)
		return -EROFS;
	if ((kind == JOB_WRITE || kind == JOB_WRITE_META) && store->in_flight >= WINDOW) {
		store->was_full = true;
		return -EAGAIN;
	}
	job = calloc(1, sizeof(*job) + items * sizeof(*job->items));
	if (!job)
		return -ENOMEM;
	job->kind = kind;
	job->arg = arg;
	job->started_ns = eb_monotonic_ns();
	*out = job;
	return 0;
}

static void tell_state(struct store_lmdb *store, const struct job *job)
{
	bool changed = !store->was_told || store->is_up != job->is_open;

	store->is_up = job->is_open;
	store->was_told = true;
	if (store->freed || !(changed || (!job->is_open && job->error)))
		return;
	if (!job->is_open)
		eb_store_tell_down(&store->base, job->text);
	else if (store->base.events.up)
		store->base.events.up(store->base.events.arg);
}

static void finish_job(struct store_lmdb *store, struct job *job)
{
	struct eb_store_result result = {
		.error = job->error,
		.text = job->text,
		.latency_ns = eb_monotonic_ns() - job->started_ns,
		.grown = job->grown,
		.fields = job->fields,
	};

	if (is_write(job))
		store->in_flight--;
	if (job->kind == JOB_SCAN)
		store->is_scanning = false;
	if (job->error) {
		eb_store_note_error(&store->base, job->text);
	} else {
		store->base.counts.fields_set += job->fields_set;
		store->base.counts.fields_deleted += job->fields_deleted;
	}
	if (job->meta_done)
		job->meta_done(&result, &job->meta, job->arg);
	else if (job->done)
		job->done(&result, job->arg);
	free_job(job);
}

static void cancel(struct job *job)
{
	job->error = -ECANCELED;
	snprintf(job->text, sizeof(job->text), "the store was closed");
}

static void take_back(struct store_lmdb *store, struct job *job)
{
	tell_state(store, job);
	if (job->kind == JOB_SCAN && !job->error && !store->freed) {
		eb_lmdb_chunk_visit(job->chunk, job->visit, job->arg);
		if (!eb_lmdb_chunk_is_last(job->chunk)) {
			if (store->is_held)
				store->held = job;
			else
				submit(store, job);
			return;
		}
	}
	if (store->freed && job->kind == JOB_SCAN)
		cancel(job);
	finish_job(store, job);
}

static void tell_writable(struct store_lmdb *store)
{
	if (!store->was_full || store->freed || store->in_flight > WINDOW / 2)
		return;
	store->was_full = false;
	if (store->base.events.writable)
		store->base.events.writable(store->base.events.arg);
}

static struct job *next_done(struct store_lmdb *store)
{
	struct job *job;

	pthread_mutex_lock(&store->lock);
	job = queue_take(&store->done);
	pthread_mutex_unlock(&store->lock);
	return job;
}

static int on_done(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
	struct store_lmdb *store = arg;
	struct job *job;
	uint64_t count;

	(void)source;
	(void)revents;
	(void)!read(fd, &count, sizeof(count));
	store->depth++;
	/* One by one: who frees the store in a callback finds the rest still there. */
	while (!store->freed && (job = next_done(store)))
		take_back(store, job);
	tell_writable(store);
	leave(store);
	return 0;
}

static int write_batch(struct eb_store *base, const struct eb_store_batch *batch, eb_store_done done, void *arg)
{
	struct store_lmdb *store = self(base);
	struct job *job;
	int err;

	if (!batch->count || batch->count > EB_STORE_BATCH_ITEMS)
		return -EINVAL;
	err = new_job(store, JOB_WRITE, batch->count, arg, &job);
	if (err)
		return err;
	job->done = done;
	job->count = batch->count;
	memcpy(job->items, batch->items, batch->count * sizeof(*batch->items));
	for (size_t i = 0; i < batch->count; i++)
		job->fields_deleted += !*batch->items[i].value;
	job->fields_set = batch->count - job->fields_deleted;
	store->in_flight++;
	submit(store, job);
	return 0;
}

static int write_meta(struct eb_store *base, const struct eb_store_meta *meta, uint64_t expire_in_ns,
		      eb_store_done done, void *arg)
{
	struct store_lmdb *store = self(base);
	struct job *job;
	int err = new_job(store, JOB_WRITE_META, 0, arg, &job);

	if (err)
		return err;
	job->done = done;
	job->meta = *meta;
	job->expire_in_ns = expire_in_ns;
	store->in_flight++;
	submit(store, job);
	return 0;
}

static int read_meta(struct eb_store *base, eb_store_meta_done done, void *arg)
{
	struct job *job;
	int err = new_job(self(base), JOB_READ_META, 0, arg, &job);

	if (err)
		return err;
	job->meta_done = done;
	submit(self(base), job);
	return 0;
}

static int count(struct eb_store *base, eb_store_done done, void *arg)
{
	struct job *job;
	int err = new_job(self(base), JOB_COUNT, 0, arg, &job);

	if (err)
		return err;
	job->done = done;
	submit(self(base), job);
	return 0;
}

static int start_scan(struct eb_store *base, eb_store_visit visit, eb_store_done done, void *arg)
{
	struct store_lmdb *store = self(base);
	struct job *job;
	int err;

	if (store->is_scanning)
		return -EBUSY;
	err = new_job(store, JOB_SCAN, 0, arg, &job);
	if (err)
		return err;
	job->chunk = eb_lmdb_chunk_new();
	if (!job->chunk) {
		free(job);
		return -ENOMEM;
	}
	job->visit = visit;
	job->done = done;
	store->is_scanning = true;
	store->is_held = false;
	submit(store, job);
	return 0;
}

static void hold_scan(struct eb_store *base, bool hold)
{
	struct store_lmdb *store = self(base);

	store->is_held = hold;
	if (hold || !store->held)
		return;
	submit(store, store->held);
	store->held = NULL;
}

static bool is_up(const struct eb_store *base)
{
	return self(base)->is_up;
}

static void cancel_jobs(struct store_lmdb *store, struct queue *queue)
{
	struct job *job;

	while ((job = queue_take(queue))) {
		cancel(job);
		finish_job(store, job);
	}
}

static void free_store(struct eb_store *base)
{
	struct store_lmdb *store = self(base);
	struct job *job;

	store->depth++;
	store->freed = true;
	memset(&base->events, 0, sizeof(base->events));
	if (store->has_thread) {
		pthread_mutex_lock(&store->lock);
		store->stop = true;
		pthread_cond_signal(&store->wake);
		pthread_mutex_unlock(&store->lock);
		pthread_join(store->thread, NULL);
	}
	store->source = sd_event_source_disable_unref(store->source);
	/* What was written before the end is told as such. */
	while ((job = next_done(store)))
		take_back(store, job);
	if (store->held)
		queue_add(&store->todo, store->held);
	cancel_jobs(store, &store->todo);
	if (store->fd >= 0)
		close(store->fd);
	leave(store);
}

static const struct eb_store_ops ops = {
	.name = "lmdb",
	.write = write_batch,
	.write_meta = write_meta,
	.read_meta = read_meta,
	.count = count,
	.scan = start_scan,
	.hold_scan = hold_scan,
	.is_up = is_up,
	.free = free_store,
};

static int start_thread(struct store_lmdb *store)
{
	sigset_t all, old;
	int err;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&store->thread, NULL, run, store);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	store->has_thread = !err;
	return -err;
}

static int start(struct store_lmdb *store, sd_event *event)
{
	struct job *job;
	int err;

	store->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (store->fd < 0)
		return -errno;
	err = sd_event_add_io(event, &store->source, store->fd, EPOLLIN, on_done, store);
	if (err >= 0)
		err = new_job(store, JOB_OPEN, 0, NULL, &job);
	if (err < 0)
		return err;
	submit(store, job);
	return start_thread(store);
}

int eb_store_lmdb_new(sd_event *event, const char *state_dir, size_t max_bytes, bool read_only,
		      enum eb_store_content content, const struct eb_store_events *events, struct eb_store **out)
{
	struct store_lmdb *store = calloc(1, sizeof(*store));
	int err;

	if (!store)
		return -ENOMEM;
	eb_store_init(&store->base, &ops, events);
	store->fd = -1;
	store->read_only = read_only;
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->wake, NULL);
	queue_init(&store->todo);
	queue_init(&store->done);
	err = eb_lmdb_file_new(state_dir, content == EB_STORE_BANS ? "bans.mdb" : "buckets.mdb", max_bytes, read_only,
			       &store->file);
	if (err)
		goto out;
	err = start(store, event);
	if (err)
		goto out;
	*out = &store->base;
	return 0;
out:
	free_store(&store->base);
	return err;
}
