#include "fs/board.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/fs_impl.h"
#include "fs/itable.h"
#include "fs/key.h"
#include "fs/returns.h"

#define MS UINT64_C(1000000)

/* As stored, little-endian: the board is an array of these. */
struct seat {
	uint32_t mount, zero;
	uint64_t asked; /* number of its last question; 0: none yet */
};
_Static_assert(sizeof(struct seat) == 16, "FORMAT.md");

/* A question, and an answer. */
struct note {
	uint64_t number;
	uint64_t ino[FS_BOARD_INOS_MAX];
};
#define NOTE_BYTES(n) (offsetof(struct note, ino) + (n) * sizeof(uint64_t))

struct seats {
	uint64_t version; /* of the key; 0: there is none */
	uint32_t n;
	struct seat seat[FS_BOARD_MOUNTS_MAX];
};

/* Another mount, as this one deals with it. */
struct other {
	uint32_t mount;
	uint64_t answered; /* the number that its seat had then */
};

/* One that has not answered this mount's question. */
struct silent {
	uint32_t mount;
	uint64_t doubt_ns; /* when the coordinator is asked */
};

struct fs_board {
	struct seats now; /* as last read */
	uint64_t seen;	  /* version of which all was answered */
	struct other other[FS_BOARD_MOUNTS_MAX];
	uint32_t others;
	uint64_t deaths;
	/* this mount's question */
	uint64_t asked_ns;
	struct note question;
	size_t inos;
	bool open[FS_BOARD_INOS_MAX];
	struct silent silent[FS_BOARD_MOUNTS_MAX];
	uint32_t silents;
	struct note heard; /* scratch */
};

int fs_board_new(struct fs_board **out)
{
	struct fs_board *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return -ENOMEM;
	*out = b;
	return 0;
}

void fs_board_free(struct fs_board *b)
{
	free(b);
}

uint64_t fs_board_deaths(const struct fs_board *b)
{
	return b->deaths;
}

static uint32_t me(const struct fs *fs)
{
	return kv_client_id(fs->kv);
}

/* --- keys and their values ------------------------------------------------ */

/* Changes may use the reserve: they are what space comes back by. */
static int put(struct fs *fs, enum kv_kind kind, const struct fs_key *key,
	       const void *val, size_t len, uint64_t expect, uint64_t *version)
{
	struct kv_req req = {.kind = (uint8_t)kind,
			     .flags = KV_URGENT | KV_HOT,
			     .key = key->byte,
			     .klen = key->len,
			     .val = val,
			     .len = (uint32_t)len,
			     .expect = expect};
	int err = kv_run(fs->kv, &req, 1);

	if (err == 0 && version != NULL)
		*version = req.version;
	return err;
}

static void del(struct fs *fs, struct fs_key key)
{
	struct kv_req req = {.kind = KV_DEL,
			     .flags = KV_URGENT,
			     .key = key.byte,
			     .klen = key.len};

	(void)kv_run(fs->kv, &req, 1); /* a few bytes; the next one tries */
}

static int board_read(struct fs *fs, struct seats *s)
{
	struct fs_key key = fs_key_board();
	size_t len;
	int err = kv_get(fs->kv, key.byte, key.len, s->seat, sizeof(s->seat),
			 &len, &s->version);

	if (err == -ENOENT) {
		s->n = 0;
		s->version = 0;
		return 0;
	}
	if (err == -ERANGE || (err == 0 && len % sizeof(struct seat) != 0))
		return -EBADMSG;
	s->n = err == 0 ? (uint32_t)(len / sizeof(struct seat)) : 0;
	return err;
}

static int board_write(struct fs *fs, struct seats *s)
{
	struct fs_key key = fs_key_board();
	int err =
		put(fs, s->version == 0 ? KV_INSERT : KV_PUT_IF, &key, s->seat,
		    s->n * sizeof(s->seat[0]), s->version, &s->version);

	return err == -EEXIST || err == -ENOENT ? -ESTALE : err;
}

static struct seat *seat_of(struct seats *s, uint32_t mount)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (le32toh(s->seat[i].mount) == mount)
			return &s->seat[i];
	return NULL;
}

/* Make @change, on condition that nobody was faster; else again. */
static int board_change(struct fs *fs,
			int (*change)(struct seats *s, uint32_t mount,
				      uint64_t number),
			uint32_t mount, uint64_t number)
{
	struct seats *s = &fs->board->now;
	int err = -ESTALE;

	for (int i = 0; err == -ESTALE && i < FS_RETRIES_MAX; i++) {
		err = board_read(fs, s);
		if (err == 0)
			err = change(s, mount, number);
		if (err == 0)
			err = board_write(fs, s);
	}
	return err == -EALREADY ? 0 : err;
}

static int sit(struct seats *s, uint32_t mount, uint64_t number)
{
	struct seat *at = seat_of(s, mount);

	if (at == NULL && s->n == FS_BOARD_MOUNTS_MAX)
		return -EUSERS;
	if (at == NULL)
		at = &s->seat[s->n++];
	*at = (struct seat){.mount = htole32(mount), .asked = htole64(number)};
	return 0;
}

static int stand(struct seats *s, uint32_t mount, uint64_t number)
{
	struct seat *at = seat_of(s, mount);

	if (at == NULL)
		return -EALREADY;
	*at = s->seat[--s->n];
	return 0;
}

/* -ENOENT; -EBADMSG. */
static int note_read(struct fs *fs, struct fs_key key, struct note *out,
		     size_t *inos)
{
	size_t len;
	int err = kv_get(fs->kv, key.byte, key.len, out, sizeof(*out), &len,
			 NULL);

	if (err != 0)
		return err == -ERANGE ? -EBADMSG : err;
	if (len < NOTE_BYTES(0) || (len - NOTE_BYTES(0)) % 8 != 0)
		return -EBADMSG;
	*inos = (len - NOTE_BYTES(0)) / 8;
	out->number = le64toh(out->number);
	for (size_t i = 0; i < *inos; i++)
		out->ino[i] = le64toh(out->ino[i]);
	return 0;
}

static int note_write(struct fs *fs, struct fs_key key, const struct note *note,
		      size_t inos)
{
	struct note le = {.number = htole64(note->number)};

	for (size_t i = 0; i < inos; i++)
		le.ino[i] = htole64(note->ino[i]);
	return put(fs, KV_PUT, &key, &le, NOTE_BYTES(inos), 0, NULL);
}

/* --- coming and going ----------------------------------------------------- */

/* What @mount wrote, and what was written for it. */
static void clear(struct fs *fs, uint32_t mount, const struct seats *s)
{
	del(fs, fs_key_question(mount));
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t with = le32toh(s->seat[i].mount);

		del(fs, fs_key_answer(mount, with));
		del(fs, fs_key_answer(with, mount));
	}
}

static int take_off(struct fs *fs, uint32_t mount)
{
	if (board_read(fs, &fs->board->now) == 0)
		clear(fs, mount, &fs->board->now);
	return board_change(fs, stand, mount, 0);
}

static int take_off_dead_one(struct fs *fs, uint32_t mount)
{
	int err = take_off(fs, mount);

	if (err == 0)
		fs_returns_note(fs, mount);
	return err;
}

/* The first on the board that has died; 0: none. With @others only if no other
 * that lives comes before, or may. */
static int first_dead(struct fs *fs, bool others, uint32_t *dead)
{
	const struct seats *s = &fs->board->now;

	*dead = 0;
	for (uint32_t i = 0; i < s->n; i++) {
		uint32_t mount = le32toh(s->seat[i].mount);
		int lives = 1;

		if (mount == me(fs))
			others = false; /* none before does it */
		else
			lives = kv_client_lives(fs->kv, mount);
		if (lives == 0)
			*dead = mount;
		if (lives == 0 || others)
			return lives < 0 ? lives : 0;
	}
	return 0;
}

static int take_off_dead(struct fs *fs, bool others)
{
	uint32_t dead;
	int err = board_read(fs, &fs->board->now);

	if (err == 0)
		err = first_dead(fs, others, &dead);
	while (err == 0 && dead != 0) {
		err = take_off_dead_one(fs, dead);
		if (err == 0)
			err = board_read(fs, &fs->board->now);
		if (err == 0)
			err = first_dead(fs, others, &dead);
	}
	return err;
}

int fs_board_bury(struct fs *fs)
{
	return take_off_dead(fs, true);
}

int fs_board_join(struct fs *fs)
{
	int err = take_off_dead(fs, false);

	return err != 0 ? err : board_change(fs, sit, me(fs), 0);
}

void fs_board_leave(struct fs *fs)
{
	(void)take_off(fs, me(fs)); /* else it counts as a dead one */
}

int fs_board_has(struct fs *fs, uint32_t mount, bool *has)
{
	int err = board_read(fs, &fs->board->now);

	if (err == 0)
		*has = seat_of(&fs->board->now, mount) != NULL;
	return err;
}

/* --- answering ------------------------------------------------------------ */

static struct other *other_of(struct fs_board *b, uint32_t mount)
{
	for (uint32_t i = 0; i < b->others; i++)
		if (b->other[i].mount == mount)
			return &b->other[i];
	if (b->others == FS_BOARD_MOUNTS_MAX)
		b->others = 0; /* all are answered once more */
	b->other[b->others] = (struct other){.mount = mount};
	return &b->other[b->others++];
}

static int answer_one(struct fs *fs, uint32_t asker)
{
	struct note *q = &fs->board->heard;
	size_t inos, open = 0;
	int err = note_read(fs, fs_key_question(asker), q, &inos);

	if (err == -ENOENT)
		return 0; /* it has left */
	if (err != 0)
		return err;
	for (size_t i = 0; i < inos; i++)
		if (fs_itable_opens(fs, q->ino[i]) > 0)
			q->ino[open++] = q->ino[i];
	return note_write(fs, fs_key_answer(asker, me(fs)), q, open);
}

/* Its own place was taken away, though it lives: back on. */
static int stay(struct fs *fs)
{
	return seat_of(&fs->board->now, me(fs)) != NULL ? 0 : fs_board_join(fs);
}

int fs_board_answer(struct fs *fs, bool *asked)
{
	struct fs_board *b = fs->board;
	uint64_t version;
	int err = board_read(fs, &b->now);

	if (err == 0 && b->now.version != 0 && b->now.version == b->seen)
		return 0;
	if (err == 0)
		err = stay(fs);
	version = b->now.version;
	for (uint32_t i = 0; err == 0 && i < b->now.n; i++) {
		uint32_t mount = le32toh(b->now.seat[i].mount);
		uint64_t number = le64toh(b->now.seat[i].asked);
		struct other *o = other_of(b, mount);

		if (mount == me(fs) || o->answered == number)
			continue;
		err = answer_one(fs, mount);
		if (err == 0)
			o->answered = number;
		*asked = true;
	}
	if (err == 0)
		b->seen = version;
	return err;
}

/* --- asking --------------------------------------------------------------- */

static void await_all(struct fs *fs)
{
	struct fs_board *b = fs->board;

	b->asked_ns = kv_wall_ns(fs->kv);
	b->silents = 0;
	for (uint32_t i = 0; i < b->now.n; i++) {
		uint32_t mount = le32toh(b->now.seat[i].mount);

		if (mount != me(fs))
			b->silent[b->silents++] = (struct silent){
				.mount = mount,
				.doubt_ns =
					b->asked_ns + FS_BOARD_DOUBT_MS * MS,
			};
	}
	memset(b->open, 0, sizeof(b->open));
}

int fs_board_ask(struct fs *fs, const uint64_t *ino, size_t n)
{
	struct fs_board *b = fs->board;
	int err;

	memcpy(b->question.ino, ino, n * sizeof(*ino));
	b->question.number++;
	b->inos = n;
	err = note_write(fs, fs_key_question(me(fs)), &b->question, n);
	if (err == 0)
		err = board_change(fs, sit, me(fs), b->question.number);
	if (err == 0)
		await_all(fs);
	return err;
}

static void note_open(struct fs_board *b, const struct note *said, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < b->inos; j++)
			if (b->question.ino[j] == said->ino[i])
				b->open[j] = true;
}

/* It is late. True: it is not to be waited for. */
static bool is_excused(struct fs *fs, struct silent *s, uint64_t now)
{
	struct fs_board *b = fs->board;

	if (now < s->doubt_ns)
		return false;
	if (now >= b->asked_ns + FS_BOARD_SILENT_MS * MS)
		return true;
	s->doubt_ns = now + FS_BOARD_DOUBT_MS * MS;
	if (kv_client_lives(fs->kv, s->mount) != 0)
		return false; /* it does, or nobody can tell */
	if (take_off_dead_one(fs, s->mount) != 0)
		return false;
	b->deaths++;
	return true;
}

static bool has_said(struct fs *fs, struct silent *s)
{
	struct fs_board *b = fs->board;
	size_t n;
	int err = note_read(fs, fs_key_answer(me(fs), s->mount), &b->heard, &n);

	if (err != 0 || b->heard.number != b->question.number)
		return false;
	note_open(b, &b->heard, n);
	return true;
}

/* Who has left had it open no more. */
int fs_board_heard(struct fs *fs, bool *open)
{
	struct fs_board *b = fs->board;
	uint64_t now = kv_wall_ns(fs->kv);

	for (uint32_t i = 0; i < b->silents;) {
		struct silent *s = &b->silent[i];

		if (has_said(fs, s) || is_excused(fs, s, now))
			*s = b->silent[--b->silents];
		else
			i++;
	}
	if (b->silents > 0)
		return -EAGAIN;
	memcpy(open, b->open, b->inos * sizeof(*open));
	return 0;
}
