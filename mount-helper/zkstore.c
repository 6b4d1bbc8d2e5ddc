/* mount-helper/zkstore.c - see zkstore.h. */
#define THREADED /* zookeeper.h: the calls that wait */
#include "mount-helper/zkstore.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

#include "mount-helper/zkacl.h"

#define PATH_BYTES 192u
#define LOOK_MS	   100u /* while it waits to lead */

struct zkstore {
	struct viewstore vs;
	zhandle_t *zh;
	char root[PATH_BYTES], view[PATH_BYTES], lead[PATH_BYTES];
	char me[PATH_BYTES]; /* its candidate; "": none yet */
	char token[20];	     /* how it knows its own again */
	_Atomic bool over;   /* the session has ended, for good */
	_Atomic uint64_t sure_until;
	int version; /* of the bytes, as it knows them */
	bool unsure; /* the last put may have been done: */
	uint8_t *last;
	size_t last_len;
	pthread_t thread; /* writes to its candidate, to be sure */
	bool threaded;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool stop; /* under lock */
};

static struct zkstore *store_of(struct viewstore *vs)
{
	return (struct zkstore *)vs;
}

/* Goes on while the host sleeps, as ZooKeeper's does. */
static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static int error_of(struct zkstore *s, int rc)
{
	switch (rc) {
	case ZOK:
		return 0;
	case ZBADVERSION:
		return -ESTALE;
	case ZSESSIONEXPIRED:
	case ZINVALIDSTATE:
	case ZAUTHFAILED:
		atomic_store(&s->over, true);
		return -ESTALE;
	case ZNONODE:
		return -ENOENT;
	case ZNODEEXISTS:
		return -EEXIST;
	case ZNOAUTH:
		return -EACCES;
	case ZOPERATIONTIMEOUT:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

static void on_event(zhandle_t *zh, int type, int state, const char *path,
		     void *arg)
{
	struct zkstore *s = arg;

	if (type == ZOO_SESSION_EVENT && (state == ZOO_EXPIRED_SESSION_STATE ||
					  state == ZOO_AUTH_FAILED_STATE))
		atomic_store(&s->over, true);
	pthread_mutex_lock(&s->lock);
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
}

/* Until something has happened, or so long. False: it is to stop. */
static bool rest(struct zkstore *s, uint32_t ms)
{
	struct timespec ts;
	bool stop;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	pthread_mutex_lock(&s->lock);
	if (!s->stop)
		pthread_cond_clockwait(&s->wake, &s->lock, CLOCK_MONOTONIC,
				       &ts);
	stop = s->stop;
	pthread_mutex_unlock(&s->lock);
	return !stop;
}

/* --- leading -------------------------------------------------------------- */

static int make(struct zkstore *s, const char *path,
		const struct ACL_vector *acl)
{
	int rc =
		error_of(s, zoo_create(s->zh, path, NULL, -1, acl, 0, NULL, 0));

	return rc == -EEXIST ? 0 : rc;
}

static int make_all(struct zkstore *s)
{
	const struct ACL_vector *ours = &ZOO_CREATOR_ALL_ACL;
	int rc = error_of(s, zoo_exists(s->zh, s->lead, 0, NULL));

	if (rc != -ENOENT)
		return rc; /* it was the last; whose /aceso is, is all one */
	rc = make(s, "/aceso", &ZOO_OPEN_ACL_UNSAFE); /* all pools' */
	if (rc == 0)
		rc = make(s, s->root, ours);
	if (rc == 0)
		rc = make(s, s->view, ours);
	return rc == 0 ? make(s, s->lead, ours) : rc;
}

/* Not before it leads: who does may be of a version that says no digest. */
static int shut_all(struct zkstore *s)
{
	int rc = zkacl_shut(s->zh, s->root);

	if (rc == ZOK)
		rc = zkacl_shut(s->zh, s->view);
	if (rc == ZOK)
		rc = zkacl_shut(s->zh, s->lead);
	return error_of(s, rc);
}

/* Its serial, after the last dash: they sort as ZooKeeper made them. */
static const char *serial(const char *name)
{
	const char *dash = strrchr(name, '-');

	return dash != NULL ? dash : name;
}

static bool is_mine(const struct zkstore *s, const char *name)
{
	return strncmp(name, s->token, strlen(s->token)) == 0;
}

/* Ours may be there without our knowing, if the answer was lost. */
static int stand(struct zkstore *s, const struct String_vector *all)
{
	char path[PATH_BYTES];

	for (int i = 0; i < all->count; i++)
		if (is_mine(s, all->data[i])) {
			snprintf(s->me, sizeof(s->me), "%.80s/%.100s", s->lead,
				 all->data[i]);
			return 0;
		}
	snprintf(path, sizeof(path), "%.80s/%s", s->lead, s->token);
	return error_of(s,
			zoo_create(s->zh, path, NULL, -1, &ZOO_CREATOR_ALL_ACL,
				   ZOO_EPHEMERAL | ZOO_SEQUENCE, s->me,
				   sizeof(s->me)));
}

static bool is_first(const struct zkstore *s, const struct String_vector *all)
{
	bool there = false;

	for (int i = 0; i < all->count; i++)
		if (is_mine(s, all->data[i]))
			there = true;
		else if (strcmp(serial(all->data[i]), serial(s->me)) < 0)
			return false;
	return there;
}

/* A write through the servers' own leader: nobody else can have our place at
 * the time when we asked for it, nor before the session's timeout after. */
static int prove(struct zkstore *s)
{
	uint64_t asked = now_ms();
	int rc = error_of(s, zoo_set(s->zh, s->me, "", 0, -1));

	if (rc == 0)
		atomic_store(&s->sure_until,
			     asked + (uint64_t)zoo_recv_timeout(s->zh) * 3 / 4);
	if (rc == -ENOENT)
		atomic_store(&s->over, true); /* somebody took it away */
	return rc;
}

static int look(struct zkstore *s)
{
	struct String_vector all = {0};
	int rc = make_all(s);

	if (rc == 0) /* watched: whoever comes or goes wakes us */
		rc = error_of(s, zoo_wget_children(s->zh, s->lead, on_event, s,
						   &all));
	if (rc != 0)
		return rc;
	if (s->me[0] == '\0')
		rc = stand(s, &all);
	else
		rc = is_first(s, &all) ? 0 : -EAGAIN;
	if (rc == 0 && !is_first(s, &all))
		rc = -EAGAIN; /* looked before it stood, or is not */
	deallocate_String_vector(&all);
	if (rc == 0)
		rc = shut_all(s);
	return rc == 0 ? prove(s) : rc;
}

static void *prove_main(void *arg)
{
	struct zkstore *s = arg;
	uint32_t ms = (uint32_t)zoo_recv_timeout(s->zh) / 8;
	uint64_t at = 0;

	do {
		if (now_ms() >= at) { /* events wake us, too */
			at = now_ms() + ms;
			prove(s);
		}
	} while (rest(s, ms) && !atomic_load(&s->over));
	return NULL;
}

int zkstore_lead(struct viewstore *vs, uint32_t timeout_ms)
{
	struct zkstore *s = store_of(vs);
	uint64_t end = now_ms() + timeout_ms;
	int rc;

	while ((rc = look(s)) != 0 && rc != -EACCES && now_ms() < end &&
	       !atomic_load(&s->over))
		rest(s, LOOK_MS);
	if (atomic_load(&s->over))
		return -ESTALE;
	if (rc != 0)
		return rc == -EACCES ? rc : -ETIMEDOUT;
	rc = -pthread_create(&s->thread, NULL, prove_main, s);
	s->threaded = rc == 0;
	return rc;
}

/* --- the bytes ------------------------------------------------------------ */

static int fetch(struct zkstore *s, void *buf, size_t cap, size_t *len,
		 int *version)
{
	int n = (int)cap, rc;
	struct Stat stat;

	rc = error_of(s, zoo_get(s->zh, s->view, 0, buf, &n, &stat));
	if (rc != 0)
		return rc;
	if (stat.dataLength > (int)cap)
		return -EMSGSIZE;
	*len = n > 0 ? (size_t)n : 0;
	*version = stat.version;
	return 0;
}

static int zk_load(struct viewstore *vs, void *buf, size_t cap, size_t *len)
{
	struct zkstore *s = store_of(vs);

	s->unsure = false;
	return fetch(s, buf, cap, len, &s->version);
}

/* Was the last put done? 0: it is known now. */
static int find_out(struct zkstore *s)
{
	uint8_t *there = malloc(VIEWSTORE_BYTES_MAX);
	size_t len = 0;
	int version = 0, rc;

	if (there == NULL)
		return -ENOMEM;
	rc = fetch(s, there, VIEWSTORE_BYTES_MAX, &len, &version);
	if (rc == 0 && version != s->version) {
		if (version == s->version + 1 && len == s->last_len &&
		    memcmp(there, s->last, len) == 0)
			s->version = version;
		else
			rc = -ESTALE;
	}
	if (rc == 0)
		s->unsure = false;
	free(there);
	return rc;
}

static int zk_put(struct viewstore *vs, const void *buf, size_t len)
{
	struct zkstore *s = store_of(vs);
	struct Stat stat;
	int rc = 0;

	if (len > VIEWSTORE_BYTES_MAX)
		return -EMSGSIZE;
	if (atomic_load(&s->over))
		return -ESTALE;
	if (s->unsure)
		rc = find_out(s);
	if (rc != 0)
		return rc;
	memcpy(s->last, buf, len);
	s->last_len = len;
	rc = error_of(
		s, zoo_set2(s->zh, s->view, buf, (int)len, s->version, &stat));
	if (rc == 0)
		s->version = stat.version;
	else if (rc != -ESTALE)
		s->unsure = true;
	return rc;
}

static bool zk_sure(struct viewstore *vs)
{
	const struct zkstore *s = store_of(vs);

	return !atomic_load(&s->over) && now_ms() < atomic_load(&s->sure_until);
}

static bool zk_lost(struct viewstore *vs)
{
	return atomic_load(&store_of(vs)->over);
}

/* --- its life ------------------------------------------------------------- */

static void zk_close(struct viewstore *vs)
{
	struct zkstore *s = store_of(vs);

	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_broadcast(&s->wake);
	pthread_mutex_unlock(&s->lock);
	if (s->threaded)
		pthread_join(s->thread, NULL);
	if (s->zh != NULL)
		zookeeper_close(s->zh); /* its candidate goes at once */
	pthread_cond_destroy(&s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s->last);
	free(s);
}

static const struct viewstore_ops zk_ops = {
	.load = zk_load,
	.put = zk_put,
	.sure = zk_sure,
	.lost = zk_lost,
	.close = zk_close,
};

static int set_names(struct zkstore *s, const char *name)
{
	uint64_t dice;

	if (strlen(name) > 64 || name[0] == '\0' || strchr(name, '/') != NULL)
		return -EINVAL;
	if (getrandom(&dice, sizeof(dice), 0) != sizeof(dice))
		return -EIO;
	snprintf(s->token, sizeof(s->token), "n%016llx-",
		 (unsigned long long)dice);
	snprintf(s->root, sizeof(s->root), "/aceso/%s", name);
	snprintf(s->view, sizeof(s->view), "/aceso/%s/view", name);
	snprintf(s->lead, sizeof(s->lead), "/aceso/%s/lead", name);
	return 0;
}

int zkstore_open(const char *servers, const char *name,
		 const struct fab_key *key, uint32_t session_ms,
		 struct viewstore **out)
{
	struct zkstore *s = calloc(1, sizeof(*s));
	int rc = -ENOMEM;

	if (s == NULL)
		return rc;
	s->vs.ops = &zk_ops;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wake, NULL);
	s->last = malloc(VIEWSTORE_BYTES_MAX);
	if (s->last == NULL)
		goto err_close;
	rc = set_names(s, name);
	if (rc != 0)
		goto err_close;
	zoo_set_debug_level(0); /* we say what matters */
	s->zh = zookeeper_init(servers, on_event, (int)session_ms, NULL, s, 0);
	rc = s->zh != NULL ? zkacl_login(s->zh, key, name) : -errno;
	if (rc != 0)
		goto err_close;
	*out = &s->vs;
	return 0;

err_close:
	zk_close(&s->vs);
	return rc;
}
