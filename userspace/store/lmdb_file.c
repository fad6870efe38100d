// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/lmdb_file.h"
#include "store/store_ops.h"

#define CHUNK_SIZE (256 * 1024)
#define EXPIRES_AT "expires_at"

struct eb_lmdb_file {
	char *dir, *path;
	size_t max_bytes;
	bool read_only;
	MDB_env *env; /* NULL while it is closed */
	struct stat data, locks; /* the files that are open */
	MDB_dbi buckets, metas;
	MDB_txn *writing;
	bool has_dbs; /* false in a read-only environment that was never written to */
};

struct eb_lmdb_chunk {
	char last_field[EB_STORE_FIELD_MAX * 4]; /* that was read */
	size_t last_len;
	bool is_last;
	size_t len;
	char bytes[CHUNK_SIZE];
};

/* ---- opening ---- */

void eb_lmdb_file_close(struct eb_lmdb_file *file)
{
	if (file->env)
		mdb_env_close(file->env);
	file->env = NULL;
	file->has_dbs = false;
}

/* LMDB trusts its file: pages that a crash of the file system cut off would be SIGBUS when they are read. */
static int check_size(struct eb_lmdb_file *file)
{
	MDB_envinfo info;
	MDB_stat stat;
	struct stat st;
	int fd, err;

	err = mdb_env_get_fd(file->env, &fd);
	if (err)
		return err;
	if (fstat(fd, &st) < 0)
		return errno;
	if ((err = mdb_env_info(file->env, &info)) || (err = mdb_env_stat(file->env, &stat)))
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
static int drop_expired(struct eb_lmdb_file *file, MDB_txn *txn)
{
	uint64_t expires_at;
	int err = get_number(txn, file->metas, EXPIRES_AT, &expires_at);

	if (err)
		return err == MDB_NOTFOUND ? 0 : err;
	if (eb_wallclock_ns() < expires_at)
		return 0;
	err = mdb_drop(txn, file->buckets, 0);
	return err ? err : mdb_drop(txn, file->metas, 0);
}

static int open_dbs(struct eb_lmdb_file *file)
{
	unsigned int flags = file->read_only ? 0 : MDB_CREATE;
	MDB_txn *txn;
	int err = mdb_txn_begin(file->env, NULL, file->read_only ? MDB_RDONLY : 0, &txn);

	if (err)
		return err;
	err = mdb_dbi_open(txn, "buckets", flags, &file->buckets);
	if (err)
		goto out;
	err = mdb_dbi_open(txn, "meta", flags, &file->metas);
	if (err)
		goto out;
	if (!file->read_only)
		err = drop_expired(file, txn);
out:
	if (err) {
		mdb_txn_abort(txn);
		return err == MDB_NOTFOUND && file->read_only ? 0 : err;
	}
	err = mdb_txn_commit(txn);
	file->has_dbs = !err;
	return err;
}

static int open_env(struct eb_lmdb_file *file)
{
	int dead, err = mdb_env_create(&file->env);

	if (err)
		return err;
	if ((err = mdb_env_set_maxdbs(file->env, 2)) || (err = mdb_env_set_mapsize(file->env, file->max_bytes)))
		return err;
	err = mdb_env_open(file->env, file->path, MDB_NOSUBDIR | (file->read_only ? MDB_RDONLY : 0), 0600);
	if (err)
		return err;
	err = check_size(file);
	if (err)
		return err;
	/* Readers that were killed keep old pages from being used again. */
	(void)mdb_reader_check(file->env, &dead);
	return open_dbs(file);
}

static bool is_damage(int err)
{
	return err == MDB_CORRUPTED || err == MDB_PAGE_NOTFOUND || err == MDB_INVALID || err == MDB_VERSION_MISMATCH ||
	       err == MDB_INCOMPATIBLE;
}

/* A damaged file is put aside: the store goes on with an empty one, and who wants to look, can. */
static void put_aside(struct eb_lmdb_file *file)
{
	size_t size = strlen(file->path) + sizeof(".damaged");
	char *aside = malloc(size);

	if (!aside)
		return;
	snprintf(aside, size, "%s.damaged", file->path);
	(void)rename(file->path, aside);
	free(aside);
}

/* A new file is only safe once its directory knows of it. */
static void sync_directory(const struct eb_lmdb_file *file)
{
	int fd = open(file->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

/* LMDB's name for the file of its locks. */
static int stat_locks(const struct eb_lmdb_file *file, struct stat *out)
{
	char path[PATH_MAX];

	return snprintf(path, sizeof(path), "%s-lock", file->path) < (int)sizeof(path) ? stat(path, out) : -1;
}

static void note_files(struct eb_lmdb_file *file)
{
	if (stat(file->path, &file->data) < 0)
		memset(&file->data, 0, sizeof(file->data));
	if (stat_locks(file, &file->locks) < 0)
		memset(&file->locks, 0, sizeof(file->locks));
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Whether the open files were removed or replaced: what is written then is lost. */
static bool are_replaced(const struct eb_lmdb_file *file)
{
	struct stat data, locks;

	return stat(file->path, &data) < 0 || !is_same_file(&data, &file->data) ||
	       stat_locks(file, &locks) < 0 || !is_same_file(&locks, &file->locks);
}

int eb_lmdb_file_open(struct eb_lmdb_file *file)
{
	bool is_new;
	int err;

	if (file->env && !file->read_only && are_replaced(file))
		eb_lmdb_file_close(file);
	if (file->env)
		return 0;
	is_new = access(file->path, F_OK) < 0;
	if (!file->read_only && mkdir(file->dir, 0700) < 0 && errno != EEXIST)
		return errno;
	err = open_env(file);
	if (is_damage(err) && !file->read_only) {
		eb_lmdb_file_close(file);
		put_aside(file);
		is_new = true;
		err = open_env(file);
	}
	if (err) {
		eb_lmdb_file_close(file);
		return err;
	}
	note_files(file);
	if (is_new)
		sync_directory(file);
	return 0;
}

/* ---- writing ---- */

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

int eb_lmdb_file_put(struct eb_lmdb_file *file, const struct eb_store_item *items, size_t count, int64_t *grown)
{
	MDB_txn *txn = file->writing;
	uint64_t before, after;
	int err = count_fields(txn, file->buckets, &before);

	for (size_t i = 0; !err && i < count; i++) {
		const struct eb_store_item *item = &items[i];
		MDB_val key = { strlen(item->field), (void *)item->field };

		err = *item->value ? put(txn, file->buckets, item->field, item->value)
				   : mdb_del(txn, file->buckets, &key, NULL);
		if (err == MDB_NOTFOUND)
			err = 0;
	}
	if (err)
		return err;
	err = count_fields(txn, file->buckets, &after);
	if (err)
		return err;
	*grown = (int64_t)(after - before);
	return 0;
}

int eb_lmdb_file_put_meta(struct eb_lmdb_file *file, const struct eb_store_meta *meta, uint64_t expire_in_ns)
{
	struct eb_store_meta_text text;
	char expires_at[24];
	int err = 0;

	eb_store_meta_format(meta, &text);
	for (int i = 0; !err && i < EB_STORE_META_FIELDS; i++)
		err = put(file->writing, file->metas, text.names[i], text.values[i]);
	snprintf(expires_at, sizeof(expires_at), "%" PRIu64, eb_wallclock_ns() + expire_in_ns);
	return err ? err : put(file->writing, file->metas, EXPIRES_AT, expires_at);
}

int eb_lmdb_file_begin(struct eb_lmdb_file *file)
{
	return mdb_txn_begin(file->env, NULL, 0, &file->writing);
}

int eb_lmdb_file_commit(struct eb_lmdb_file *file, int err)
{
	MDB_txn *txn = file->writing;

	file->writing = NULL;
	if (err) {
		mdb_txn_abort(txn);
		return err;
	}
	return mdb_txn_commit(txn);
}

/* ---- reading ---- */

static int begin_read(struct eb_lmdb_file *file, MDB_dbi dbi, MDB_txn **txn, MDB_cursor **cursor)
{
	int err = mdb_txn_begin(file->env, NULL, MDB_RDONLY, txn);

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

int eb_lmdb_file_read_meta(struct eb_lmdb_file *file, struct eb_store_meta *meta)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int err;

	if (!file->has_dbs)
		return 0;
	err = begin_read(file, file->metas, &txn, &cursor);
	if (err)
		return err;
	while (!(err = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
		char name[64], text[64];

		copy_text(&key, name, sizeof(name));
		copy_text(&value, text, sizeof(text));
		eb_store_meta_take(meta, name, text);
	}
	end_read(txn, cursor);
	return err == MDB_NOTFOUND ? 0 : err;
}

/* In the chunk: two lengths, field, NUL, value, NUL. */
static bool chunk_add(struct eb_lmdb_chunk *chunk, const MDB_val *field, const MDB_val *value)
{
	uint32_t lens[2] = { field->mv_size, value->mv_size };
	size_t need = sizeof(lens) + field->mv_size + value->mv_size + 2;
	char *out = chunk->bytes + chunk->len;

	if (need > sizeof(chunk->bytes) - chunk->len)
		return false;
	memcpy(out, lens, sizeof(lens));
	out += sizeof(lens);
	memcpy(out, field->mv_data, field->mv_size);
	out += field->mv_size;
	*out++ = '\0';
	memcpy(out, value->mv_data, value->mv_size);
	out[value->mv_size] = '\0';
	chunk->len += need;
	return true;
}

static int position(MDB_cursor *cursor, const struct eb_lmdb_chunk *chunk, MDB_val *key, MDB_val *value)
{
	int err;

	if (!chunk->last_len)
		return mdb_cursor_get(cursor, key, value, MDB_FIRST);
	key->mv_size = chunk->last_len;
	key->mv_data = (void *)chunk->last_field;
	err = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (!err && key->mv_size == chunk->last_len && !memcmp(key->mv_data, chunk->last_field, chunk->last_len))
		err = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	return err;
}

int eb_lmdb_file_read(struct eb_lmdb_file *file, struct eb_lmdb_chunk *chunk)
{
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	int err;

	chunk->len = 0;
	chunk->is_last = true;
	if (!file->has_dbs)
		return 0;
	err = begin_read(file, file->buckets, &txn, &cursor);
	if (err)
		return err;
	for (err = position(cursor, chunk, &key, &value); !err; err = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
		/* What is larger than any of ours is not ours. */
		if (key.mv_size > sizeof(chunk->last_field) || value.mv_size > CHUNK_SIZE / 4)
			continue;
		if (!chunk_add(chunk, &key, &value)) {
			chunk->is_last = false;
			break;
		}
		memcpy(chunk->last_field, key.mv_data, key.mv_size);
		chunk->last_len = key.mv_size;
	}
	end_read(txn, cursor);
	return err == MDB_NOTFOUND ? 0 : err;
}

struct eb_lmdb_chunk *eb_lmdb_chunk_new(void)
{
	struct eb_lmdb_chunk *chunk = malloc(sizeof(*chunk));

	if (chunk)
		chunk->len = chunk->last_len = 0;
	return chunk;
}

bool eb_lmdb_chunk_is_last(const struct eb_lmdb_chunk *chunk)
{
	return chunk->is_last;
}

void eb_lmdb_chunk_visit(const struct eb_lmdb_chunk *chunk, eb_store_visit visit, void *arg)
{
	const char *in = chunk->bytes, *end = in + chunk->len;
	uint32_t lens[2];

	while (in < end) {
		memcpy(lens, in, sizeof(lens));
		in += sizeof(lens);
		visit(in, lens[0], in + lens[0] + 1, lens[1], arg);
		in += lens[0] + lens[1] + 2;
	}
}

void eb_lmdb_chunk_free(struct eb_lmdb_chunk *chunk)
{
	free(chunk);
}

int eb_lmdb_file_count(struct eb_lmdb_file *file, uint64_t *out)
{
	MDB_txn *txn;
	int err;

	if (!file->has_dbs)
		return 0;
	err = mdb_txn_begin(file->env, NULL, MDB_RDONLY, &txn);
	if (err)
		return err;
	err = count_fields(txn, file->buckets, out);
	mdb_txn_abort(txn);
	return err;
}

/* ---- life ---- */

bool eb_lmdb_file_is_open(const struct eb_lmdb_file *file)
{
	return file->env;
}

int eb_lmdb_file_fail(struct eb_lmdb_file *file, int err, char *text, size_t size)
{
	text[0] = '\0';
	if (!err)
		return 0;
	if (err == MDB_PANIC || err == MDB_MAP_RESIZED || err == EIO || is_damage(err))
		eb_lmdb_file_close(file);
	snprintf(text, size, "%s: %s", file->path,
		 err == MDB_MAP_FULL ? "the embedded store has reached its size limit" : mdb_strerror(err));
	return err == MDB_MAP_FULL ? -ENOSPC : err > 0 ? -err : -EIO;
}

int eb_lmdb_file_new(const char *state_dir, const char *name, size_t max_bytes, bool read_only,
		     struct eb_lmdb_file **out)
{
	struct eb_lmdb_file *file = calloc(1, sizeof(*file));
	size_t page = sysconf(_SC_PAGESIZE), size = strlen(state_dir) + strlen(name) + sizeof("/");

	if (!file)
		return -ENOMEM;
	file->max_bytes = (max_bytes + page - 1) / page * page;
	file->read_only = read_only;
	file->dir = strdup(state_dir);
	file->path = malloc(size);
	if (!file->dir || !file->path) {
		eb_lmdb_file_free(file);
		return -ENOMEM;
	}
	snprintf(file->path, size, "%s/%s", state_dir, name);
	*out = file;
	return 0;
}

void eb_lmdb_file_free(struct eb_lmdb_file *file)
{
	if (!file)
		return;
	eb_lmdb_file_close(file);
	free(file->dir);
	free(file->path);
	free(file);
}
