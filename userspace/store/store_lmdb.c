// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buckets in an LMDB environment, the file buckets.mdb.
 *
 * A commit waits for the disk, which may take seconds: a thread of its own does all work on the environment, job by
 * job, and the loop only hands over and takes back. Each commit is synced in full (no MDB_NOSYNC, no MDB_NOMETASYNC):
 * off the loop, and with all batches that wait in one transaction, that costs nothing that matters, and a power cut at
 * any moment leaves the last commit. No MDB_WRITEMAP: on a full disk it would raise SIGBUS where pwrite() fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/privileges.h"
#include "store/store_ops.h"

#define WINDOW 64 /* jobs that write; all of them make one transaction at most */
#define CHUNK_SIZE (256 * 1024)
#define TOUCHED_MAX 16384 /* items that may each have brought some pages into memory */
#define EXPIRES_AT "expires_at"

enum job_kind { JOB_OPEN, JOB_WRITE, JOB_WRITE_META, JOB_READ_META, JOB_COUNT, JOB_SCAN };

struct job {
	struct job *next;
	enum job_kind kind;
	uint64_t started_ns;
	int error;
	char text[300];
	bool is_open; /* whether the environment was, at the end */
	eb_store_done done;
	eb_store_meta_done meta_done;
	void *arg;
	uint64_t fields_set, fields_deleted;
	int64_t grown;
	uint64_t fields;
	struct eb_store_meta meta;
	uint64_t expire_in_ns;
	/* A scan goes in steps of one chunk, each a transaction of its own: a slow reader keeps no old pages. */
	eb_store_visit visit;
	char *chunk;
	size_t chunk_len;
	char last_field[EB_STORE_FIELD_MAX * 4];
	size_t last_len;
	bool is_last;
	/* JOB_WRITE */
	size_t count;
	struct eb_store_item items[];
};

struct queue {
	struct job *first, **end;
};

struct store_lmdb {
	struct eb_store base;
	char *dir, *path;
	size_t max_bytes;
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

	/* The thread's own. */
	MDB_env *env;
	struct stat file, lock_file; /* that are open */
	MDB_dbi buckets, metas;
	size_t touched; /* items, since it was opened */
	bool has_dbs; /* false in a read-only environment that nobody has written to yet */
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
	free(job->chunk);
	free(job);
}

/* The thread: opening */

static void close_env(struct store_lmdb *store)
{
	if (store->env)
		mdb_env_close(store->env);
	store->env = NULL;
	store->has_dbs = false;
}

/* LMDB trusts its file: pages that a crash of the file system cut off would be SIGBUS when they are read. */
static int check_size(struct store_lmdb *store)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat st;
	int fd, err;

	err = mdb_env_get_fd(store->env, &fd);
	if (err)
		return err;
	if (fstat(fd, &st) < 0)
		return errno;
	if ((err = mdb_env_info(store->env, &info)) || (err = mdb_env_stat(store->env, &stat)))
		return err;
	/* A new environment has two pages of meta data, and no others yet. */
	return (uint64_t)st.st_size < (info.me_last_pgno + 1) * stat.ms_psize ? MDB_CORRUPTED : 0;
}

static int get_number(MDB_txn *txn, MDB_dbi dbi, const char *name, uint64_t *out)
{
	MDB_val key = { strlen(name), (void *)name }, value;
	char text[24];
	int err = mdb_get(txn, dbi, &key, &value);

	if (err)
		return err;
	if (value.mv_size >= sizeof(text))
		return MDB_CORRUPTED;
	memcpy(text, value.mv_data, value.mv_size);
	text[value.mv_size] = '\0';
	*out = strtoull(text, NULL, 10);
	return 0;
}

/* What every bucket has outlived is nothing any more. */
static int drop_expired(struct store_lmdb *store, MDB_txn *txn)
{
	uint64_t expires_at;
	int err = get_number(txn, store->metas, EXPIRES_AT, &expires_at);

	if (err == MDB_NOTFOUND || (!err && eb_wallclock_ns() < expires_at))
		return 0;
	if (!err)
		err = mdb_drop(txn, store->buckets, 0);
	return err ? err : mdb_drop(txn, store->metas, 0);
}

static int open_dbs(struct store_lmdb *store)
{
	unsigned int flags = store->read_only ? 0 : MDB_CREATE;
	MDB_txn *txn;
	int err = mdb_txn_begin(store->env, NULL, store->read_only ? MDB_RDONLY : 0, &txn);

	if (err)
		return err;
	err = mdb_dbi_open(txn, "buckets", flags, &store->buckets);
	if (!err)
		err = mdb_dbi_open(txn, "meta", flags, &store->metas);
	if (!err && !store->read_only)
		err = drop_expired(store, txn);
	if (err) {
		mdb_txn_abort(txn);
		return err == MDB_NOTFOUND && store->read_only ? 0 : err;
	}
	err = mdb_txn_commit(txn);
	store->has_dbs = !err;
	return err;
}

static int open_file(struct store_lmdb *store)
{
	int dead, err = mdb_env_create(&store->env);

	if (err)
		return err;
	if ((err = mdb_env_set_maxdbs(store->env, 2)) || (err = mdb_env_set_mapsize(store->env, store->max_bytes)))
		return err;
	err = mdb_env_open(store->env, store->path, MDB_NOSUBDIR | (store->read_only ? MDB_RDONLY : 0), 0600);
	if (err)
		return err;
	err = check_size(store);
	if (err)
		return err;
	/* Readers that were killed keep old pages from being used again. */
	(void)mdb_reader_check(store->env, &dead);
	return open_dbs(store);
}

static bool is_damage(int err)
{
	return err == MDB_CORRUPTED || err == MDB_PAGE_NOTFOUND || err == MDB_INVALID || err == MDB_VERSION_MISMATCH ||
	       err == MDB_INCOMPATIBLE;
}

/* A damaged file is put aside: the store goes on with an empty one, and who wants to look, can. */
static void put_aside(struct store_lmdb *store)
{
	size_t size = strlen(store->path) + sizeof(".damaged");
	char *aside = malloc(size);

	if (!aside)
		return;
	snprintf(aside, size, "%s.damaged", store->path);
	(void)rename(store->path, aside);
	free(aside);
}

/* A new file is only safe once its directory knows of it. */
static void sync_directory(const struct store_lmdb *store)
{
	int fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

/* LMDB's name for the file of its locks. */
static int stat_lock(const struct store_lmdb *store, struct stat *out)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s-lock", store->path) < (int)sizeof(path) ? stat(path, out) : -1;
}

static void note_files(struct store_lmdb *store)
{
	if (stat(store->path, &store->file) < 0)
		memset(&store->file, 0, sizeof(store->file));
	if (stat_lock(store, &store->lock_file) < 0)
		memset(&store->lock_file, 0, sizeof(store->lock_file));
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether somebody removed the files that are open, or put others in their place: what is written then is lost. */
static bool are_replaced(const struct store_lmdb *store)
{
	struct stat file, lock_file;

	return stat(store->path, &file) < 0 || !is_same_file(&file, &store->file) ||
	       stat_lock(store, &lock_file) < 0 || !is_same_file(&lock_file, &store->lock_file);
}

static int open_env(struct store_lmdb *store)
{
	bool is_new;
	int err;

	if (store->env && !store->read_only && are_replaced(store))
		close_env(store);
	if (store->env)
		return 0;
	is_new = access(store->path, F_OK) < 0;
	if (!store->read_only && mkdir(store->dir, 0700) < 0 && errno != EEXIST)
		return errno;
	err = open_file(store);
	if (is_damage(err) && !store->read_only) {
		close_env(store);
		put_aside(store);
		is_new = true;
		err = open_file(store);
	}
	if (err) {
		close_env(store);
		return err;
	}
	note_files(store);
	if (is_new)
		sync_directory(store);
	return 0;
}

/* The thread: jobs. Each returns 0, errno, or an error of LMDB. */

static int put(MDB_txn *txn, MDB_dbi dbi, const char *name, const char *text)
{
	MDB_val key = { strlen(name), (void *)name }, value = { strlen(text), (void *)text };

	return mdb_put(txn, dbi, &key, &value, 0);
}

static int count_fields(MDB_txn *txn, MDB_dbi dbi, uint64_t *out)
{
	MDB_stat stat;
	int err = mdb_stat(txn, dbi, &stat);

	if (!err)
		*out = stat.ms_entries;
	return err;
}

static int write_items(struct store_lmdb *store, MDB_txn *txn, struct job *job)
{
	uint64_t before, after;
	int err = count_fields(txn, store->buckets, &before);

	for (size_t i = 0; !err && i < job->count; i++) {
		const struct eb_store_item *item = &job->items[i];
		MDB_val key = { strlen(item->field), (void *)item->field };

		err = *item->value ? put(txn, store->buckets, item->field, item->value)
				   : mdb_del(txn, store->buckets, &key, NULL);
		if (err == MDB_NOTFOUND)
			err = 0;
	}
	store->touched += job->count;
	if (!err)
		err = count_fields(txn, store->buckets, &after);
	if (!err)
		job->grown = (int64_t)(after - before);
	return err;
}

static int write_meta_text(struct store_lmdb *store, MDB_txn *txn, const struct job *job)
{
	struct eb_store_meta_text text;
	char expires_at[24];
	int err = 0;

	eb_store_meta_format(&job->meta, &text);
	for (int i = 0; !err && i < EB_STORE_META_FIELDS; i++)
		err = put(txn, store->metas, text.names[i], text.values[i]);
	snprintf(expires_at, sizeof(expires_at), "%" PRIu64, eb_wallclock_ns() + job->expire_in_ns);
	return err ? err : put(txn, store->metas, EXPIRES_AT, expires_at);
}

static bool is_write(const struct job *job)
{
	return job->kind == JOB_WRITE || job->kind == JOB_WRITE_META;
}

/* All jobs of the list, which write, in one transaction. */
static int write_jobs(struct store_lmdb *store, struct job *jobs)
{
	MDB_txn *txn;
	int err = mdb_txn_begin(store->env, NULL, 0, &txn);

	if (err)
		return err;
	for (; !err && jobs; jobs = jobs->next)
		err = jobs->kind == JOB_WRITE ? write_items(store, txn, jobs) : write_meta_text(store, txn, jobs);
	if (err) {
		mdb_txn_abort(txn);
		return err;
	}
	return mdb_txn_commit(txn);
}

static int begin_read(struct store_lmdb *store, MDB_dbi dbi, MDB_txn **txn, MDB_cursor **cursor)
{
	int err = mdb_txn_begin(store->env, NULL, MDB_RDONLY, txn);

	if (err)
		return err;
	err = mdb_cursor_open(*txn, dbi, cursor);
	if (err)
		mdb_txn_abort(*txn);
	return err;
}

static void end_read(MDB_txn *txn, MDB_cursor *cursor)
{
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
}

static void copy_text(const MDB_val *value, char *out, size_t size)
{
	size_t len = value->mv_size < size ? value->mv_size : size - 1;

	memcpy(out, value->mv_data, len);
	out[len] = '\0';
}

static int read_meta_text(struct store_lmdb *store, struct job *job)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int err;

	if (!store->has_dbs)
		return 0;
	err = begin_read(store, store->metas, &txn, &cursor);
	if (err)
		return err;
	while (!(err = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
		char name[64], text[64];

		copy_text(&key, name, sizeof(name));
		copy_text(&value, text, sizeof(text));
		eb_store_meta_take(&job->meta, name, text);
	}
	end_read(txn, cursor);
	return err == MDB_NOTFOUND ? 0 : err;
}

/* In the chunk: two lengths, field, NUL, value, NUL. */
static bool chunk_add(struct job *job, const MDB_val *field, const MDB_val *value)
{
	uint32_t lens[2] = { field->mv_size, value->mv_size };
	size_t need = sizeof(lens) + field->mv_size + value->mv_size + 2;
	char *out = job->chunk + job->chunk_len;

	if (need > CHUNK_SIZE - job->chunk_len)
		return false;
	memcpy(out, lens, sizeof(lens));
	out += sizeof(lens);
	memcpy(out, field->mv_data, field->mv_size);
	out += field->mv_size;
	*out++ = '\0';
	memcpy(out, value->mv_data, value->mv_size);
	out[value->mv_size] = '\0';
	job->chunk_len += need;
	return true;
}

static int position(MDB_cursor *cursor, const struct job *job, MDB_val *key, MDB_val *value)
{
	int err;

	if (!job->last_len)
		return mdb_cursor_get(cursor, key, value, MDB_FIRST);
	key->mv_size = job->last_len;
	key->mv_data = (void *)job->last_field;
	err = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (!err && key->mv_size == job->last_len && !memcmp(key->mv_data, job->last_field, job->last_len))
		err = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	return err;
}

static int scan_chunk(struct store_lmdb *store, struct job *job)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int err;

	job->chunk_len = 0;
	job->is_last = true;
	if (!store->has_dbs)
		return 0;
	err = begin_read(store, store->buckets, &txn, &cursor);
	if (err)
		return err;
	for (err = position(cursor, job, &key, &value); !err; err = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		/* What is larger than any of ours is not ours. */
		if (key.mv_size > sizeof(job->last_field) || value.mv_size > CHUNK_SIZE / 4)
			continue;
		if (!chunk_add(job, &key, &value)) {
			job->is_last = false;
			break;
		}
		memcpy(job->last_field, key.mv_data, key.mv_size);
		job->last_len = key.mv_size;
		store->touched++;
	}
	end_read(txn, cursor);
	return err == MDB_NOTFOUND ? 0 : err;
}

static void set_error(const struct store_lmdb *store, struct job *job, int err)
{
	job->is_open = store->env;
	job->error = 0;
	job->text[0] = '\0';
	if (!err)
		return;
	job->error = err == MDB_MAP_FULL ? -ENOSPC : err > 0 ? -err : -EIO;
	snprintf(job->text, sizeof(job->text), "%s: %s", store->path,
		 err == MDB_MAP_FULL ? "the embedded store has reached its size limit" : mdb_strerror(err));
}

static int count_all(struct store_lmdb *store, struct job *job)
{
	MDB_txn *txn;
	int err;

	if (!store->has_dbs)
		return 0;
	err = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
	if (err)
		return err;
	err = count_fields(txn, store->buckets, &job->fields);
	mdb_txn_abort(txn);
	return err;
}

static int run_job(struct store_lmdb *store, struct job *job)
{
	switch (job->kind) {
	case JOB_SCAN:
		return scan_chunk(store, job);
	case JOB_READ_META:
		return read_meta_text(store, job);
	case JOB_COUNT:
		return count_all(store, job);
	default:
		return 0;
	}
}

/* Runs `jobs`, a list of one, or of several that write. */
static void run_group(struct store_lmdb *store, struct job *jobs)
{
	int err = open_env(store);

	if (!err)
		err = is_write(jobs) ? write_jobs(store, jobs) : run_job(store, jobs);
	/* An environment that failed at its roots is opened anew next time. */
	if (err == MDB_PANIC || err == MDB_MAP_RESIZED || err == EIO || is_damage(err))
		close_env(store);
	for (; jobs; jobs = jobs->next)
		set_error(store, jobs, err);
}

/*
 * Pages of the file that have been looked at count as the agent's memory, in the end the whole file, for as long as it
 * is mapped, though the page cache has them anyway. LMDB does not say where its map is; opening the environment again
 * takes less than a millisecond.
 */
static void forget_pages(struct store_lmdb *store)
{
	if (store->touched < TOUCHED_MAX)
		return;
	close_env(store);
	store->touched = 0;
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
		pthread_mutex_unlock(&store->lock);
		forget_pages(store);
		pthread_mutex_lock(&store->lock);
	}
	pthread_mutex_unlock(&store->lock);
	close_env(store);
	return NULL;
}

/* The loop */

static void leave(struct store_lmdb *store)
{
	if (--store->depth || !store->freed)
		return;
	pthread_cond_destroy(&store->wake);
	pthread_mutex_destroy(&store->lock);
	free(store->dir);
	free(store->path);
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

static void visit_chunk(const struct job *job)
{
	const char *in = job->chunk, *end = in + job->chunk_len;
	uint32_t lens[2];

	while (in < end) {
		memcpy(lens, in, sizeof(lens));
		in += sizeof(lens);
		job->visit(in, lens[0], in + lens[0] + 1, lens[1], job->arg);
		in += lens[0] + lens[1] + 2;
	}
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
		visit_chunk(job);
		if (!job->is_last) {
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
	job->chunk = malloc(CHUNK_SIZE);
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

static int start(struct store_lmdb *store, sd_event *event, const char *state_dir)
{
	size_t size = strlen(state_dir) + sizeof("/buckets.mdb");
	struct job *job;
	int err;

	store->dir = strdup(state_dir);
	store->path = malloc(size);
	if (!store->dir || !store->path)
		return -ENOMEM;
	snprintf(store->path, size, "%s/buckets.mdb", state_dir);
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
		      const struct eb_store_events *events, struct eb_store **out)
{
	struct store_lmdb *store = calloc(1, sizeof(*store));
	size_t page = sysconf(_SC_PAGESIZE);
	int err;

	if (!store)
		return -ENOMEM;
	eb_store_init(&store->base, &ops, events);
	store->fd = -1;
	store->max_bytes = (max_bytes + page - 1) / page * page;
	store->read_only = read_only;
	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->wake, NULL);
	queue_init(&store->todo);
	queue_init(&store->done);
	err = start(store, event, state_dir);
	if (err) {
		free_store(&store->base);
		return err;
	}
	*out = &store->base;
	return 0;
}
