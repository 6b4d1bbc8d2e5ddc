/* Each kind of damage to a file system, made key by key: it is found, named,
 * mended, and a second look finds nothing. What a crash leaves is in
 * names_crash_test.c. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "fs/chunk.h"
#include "fs/cnode.h"
#include "fs/fsck.h"
#include "fs/itable.h"
#include "fs/key.h"
#include "fs/orphan.h"
#include "fs/region.h"
#include "fs/xattr.h"
#include "fs/trie.h"
#include "tests/fsmodel/mounts.h"

#define FAR_CHUNK 1000u /* beyond those that need no bits */

/* /f: 20 pages, and one far out; /d/g: small; /d/e: empty directory; an
 * attribute with a key of its own on /f; /many: a directory of many nodes. */
struct scene {
	struct mount m;
	uint64_t f, d, g, e, many;
	unsigned faults[FS_FAULT_KINDS];
	char words[FS_FAULT_WORDS_MAX]; /* of the first */
};

static void write_at(struct scene *s, uint64_t ino, size_t n, uint64_t off)
{
	char *bytes = malloc(n);

	memset(bytes, 'x', n);
	assert_int_equal(
		fs_file_write(s->m.fs, ino, bytes, n, &off, false, false), n);
	free(bytes);
}

static struct scene build(void)
{
	struct scene s = {.m = mount_open()};
	char name[32], big[1000];

	memset(big, 'v', sizeof(big));
	assert_int_equal(touch(s.m.fs, ROOT, "f", &s.f), 0);
	assert_int_equal(mkdir_(s.m.fs, ROOT, "d", &s.d), 0);
	assert_int_equal(touch(s.m.fs, s.d, "g", &s.g), 0);
	assert_int_equal(mkdir_(s.m.fs, s.d, "e", &s.e), 0);
	assert_int_equal(mkdir_(s.m.fs, ROOT, "many", &s.many), 0);
	for (unsigned i = 0; i < 600; i++) {
		snprintf(name, sizeof(name), "name-%u", i);
		assert_int_equal(touch(s.m.fs, s.many, name, NULL), 0);
	}
	write_at(&s, s.f, 20 * FS_PAGE_BYTES, 0);
	write_at(&s, s.f, 100, (uint64_t)FAR_CHUNK * FS_CHUNK_BYTES);
	write_at(&s, s.g, 100, 0);
	assert_int_equal(
		fs_xattr_set(s.m.fs, s.f, "user.big", big, sizeof(big), 0), 0);
	fs_itable_settle_all(s.m.fs, 0);
	return s;
}

static void note(void *arg, const struct fs_fault *f)
{
	struct scene *s = arg;

	if (s->words[0] == '\0')
		snprintf(s->words, sizeof(s->words), "%s", f->words);
	s->faults[f->kind]++;
	assert_true(f->name != NULL && f->remedy != NULL);
}

/* The mount goes, as the checker is a client of its own, and is back after;
 * without tidying up, and not at all if there is no superblock. */
static struct fs_fsck_sum check(struct scene *s, bool repair)
{
	struct fs_fsck_opts o = {
		.repair = repair, .settle_ms = 1, .fault = note, .arg = s};
	struct fs_opts fo = {.check = true};
	struct kv_opts ko = {.pool = POOL};
	struct fs_fsck_sum sum;

	memset(s->faults, 0, sizeof(s->faults));
	s->words[0] = '\0';
	mount_close(&s->m);
	assert_int_equal(kv_open(&ko, &s->m.kv), 0);
	assert_int_equal(fs_fsck(s->m.kv, &o, &sum), 0);
	kv_close(s->m.kv);
	assert_int_equal(kv_open(&ko, &s->m.kv), 0);
	if (fs_open(s->m.kv, &fo, &s->m.fs) != 0)
		s->m.fs = NULL;
	return sum;
}

/* Nothing is wrong (any more). */
static void clean(struct scene *s)
{
	if (check(s, false).found != 0)
		fail_msg("still: %s", s->words);
	sound_and_tight(s->m.fs);
	pool_drop(&s->m);
}

/* @kind is found, its words hold @words; it is mended, and all is well. */
static void mends(struct scene *s, enum fs_fault_kind kind, const char *words)
{
	struct fs_fsck_sum sum = check(s, false);

	if (s->faults[kind] == 0)
		fail_msg("not found: kind %u; first: %s", kind, s->words);
	assert_int_equal(sum.found, sum.left);
	if (strstr(s->words, words) == NULL)
		fail_msg("'%s' is not in: %s", words, s->words);
	sum = check(s, true);
	assert_int_equal(sum.left, 0);
	clean(s);
}

static void put(struct scene *s, struct fs_key key, const void *val, size_t len)
{
	assert_int_equal(kv_put(s->m.kv, key.byte, key.len, val, len, NULL), 0);
}

static void del(struct scene *s, struct fs_key key)
{
	assert_int_equal(kv_del(s->m.kv, key.byte, key.len, 0), 0);
}

static void edit_inode(struct scene *s, uint64_t ino,
		       void (*edit)(struct fs_inode *in))
{
	struct fs_inode in;

	assert_int_equal(fs_inode_load(s->m.fs, ino, &in), 0);
	edit(&in);
	assert_int_equal(fs_inode_store(s->m.fs, &in), 0);
}

/* --- it is quiet about what is right ------------------------------------- */

static void a_sound_tree_is_said_to_be_sound(void **state)
{
	struct scene s = build();
	struct fs_fsck_sum sum = check(&s, true);

	assert_int_equal(sum.found, 0);
	assert_int_equal(sum.dirs, 4);
	assert_int_equal(sum.files, 602);
	assert_int_equal(sum.names, 605);
	assert_int_equal(sum.pages, 21);
	pool_drop(&s.m);
}

static void an_empty_pool_is_sound(void **state)
{
	struct kv_opts o = {.pool = POOL};
	struct scene s = {0};

	assert_int_equal(kv_open(&o, &s.m.kv), 0);
	assert_int_equal(check(&s, true).found, 0);
	pool_drop(&s.m);
}

/* --- records ------------------------------------------------------------- */

static void a_lost_superblock_is_told_and_left(void **state)
{
	struct scene s = build();
	struct fs_fsck_sum sum;

	del(&s, fs_key_super());
	sum = check(&s, true);
	assert_int_equal(sum.left, 1);
	assert_int_equal(s.faults[FS_FAULT_SUPER], 1);
	put(&s, fs_key_super(), "nonsense", 8);
	assert_int_equal(check(&s, true).left, 1);
	pool_drop(&s.m);
}

static void a_lost_count_of_moves(void **state)
{
	struct scene s = build();

	del(&s, fs_key_moves());
	mends(&s, FS_FAULT_MOVES, "moves");
}

static void a_key_of_no_kind(void **state)
{
	struct scene s = build();

	assert_int_equal(kv_put(s.m.kv, "\1Zzz", 4, "a", 1, NULL), 0);
	mends(&s, FS_FAULT_KEY, "no kind");
}

static void a_file_whose_inode_is_nonsense_keeps_its_bytes(void **state)
{
	struct scene s = build();
	struct fs_inode in;

	put(&s, fs_key_inode(s.f), "nonsense", 8);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_INODE_BAD], 1);
	assert_int_equal(fs_inode_load(s.m.fs, s.f, &in), 0);
	assert_true(in.size >
		    (uint64_t)FAR_CHUNK * FS_CHUNK_BYTES + FS_PAGE_BYTES - 1);
	put(&s, fs_key_inode(s.f), "nonsense", 8);
	mends(&s, FS_FAULT_INODE_BAD, "/f");
}

static void a_directory_whose_inode_is_nonsense_keeps_its_names(void **state)
{
	struct scene s = build();
	uint64_t ino;

	put(&s, fs_key_inode(s.d), "nonsense", 8);
	check(&s, true);
	assert_int_equal(look(s.m.fs, s.d, "g", &ino), 0);
	put(&s, fs_key_inode(s.d), "nonsense", 8);
	mends(&s, FS_FAULT_INODE_BAD, "/d");
}

static void no_root(void **state)
{
	struct scene s = build();
	uint64_t ino;

	del(&s, fs_key_inode(ROOT));
	check(&s, true);
	assert_int_equal(look(s.m.fs, ROOT, "many", &ino), 0);
	del(&s, fs_key_inode(ROOT));
	mends(&s, FS_FAULT_NO_ROOT, "root");
}

/* --- tries --------------------------------------------------------------- */

static struct fs_key first_child(struct scene *s)
{
	struct fs_spot spot;

	assert_int_equal(fs_trie_find(s->m.fs, s->many, 0, &spot), 0);
	assert_true(spot.depth > 0);
	return spot.key;
}

static void a_node_that_is_nonsense(void **state)
{
	struct scene s = build();

	put(&s, first_child(&s), "nonsense", 8);
	mends(&s, FS_FAULT_NODE_BAD, "/many");
}

static void an_inner_node_that_is_nonsense(void **state)
{
	struct scene s = build();

	put(&s, fs_key_dir(s.many, 0, 0, 0), "nonsense", 8);
	mends(&s, FS_FAULT_NODE_BAD, "/many");
}

static void a_node_that_is_gone(void **state)
{
	struct scene s = build();

	del(&s, first_child(&s));
	mends(&s, FS_FAULT_NODE_MISSING, "/many");
}

static void a_directory_without_its_trie(void **state)
{
	struct scene s = build();

	del(&s, fs_key_dir(s.d, 0, 0, 0));
	check(&s, true);
	clean(&s);
}

static void a_node_that_nobody_names(void **state)
{
	struct scene s = build();
	struct fs_node n;

	fs_node_init(&n, FS_NODE_LEAF, 0);
	put(&s, fs_key_dir(s.many, 4711, 1, 2), n.bytes, n.len);
	put(&s, fs_key_dir(s.f, 0, 0, 0), n.bytes, n.len);
	mends(&s, FS_FAULT_NODE_LEAKED, "not part of it");
}

/* --- names --------------------------------------------------------------- */

static void add(struct scene *s, uint64_t dir, const char *name, uint64_t ino,
		uint32_t mode)
{
	assert_int_equal(
		fs_dentry_add(s->m.fs, dir, name, ino, fs_dentry_type(mode)),
		0);
}

static void a_name_with_a_wrong_hash(void **state)
{
	struct scene s = build();
	struct fs_spot spot;
	struct fs_dentry d = {
		.hash = 1, .ino = s.g, .name = "bent", .nlen = 4, .type = 8};

	assert_int_equal(fs_trie_find(s.m.fs, s.d, 0, &spot), 0);
	assert_int_equal(fs_leaf_add(&spot.node, &d), 0);
	assert_int_equal(fs_trie_commit(s.m.fs, &spot, 0), 0);
	mends(&s, FS_FAULT_NAME_PLACE, "/d/bent");
}

static void a_name_without_an_inode(void **state)
{
	struct scene s = build();

	add(&s, s.d, "ghost", 99, S_IFREG);
	mends(&s, FS_FAULT_NAME_DEAD, "/d/ghost");
}

static void a_name_of_another_type(void **state)
{
	struct scene s = build();

	assert_int_equal(fs_dentry_remove(s.m.fs, s.d, "g", s.g), 0);
	add(&s, s.d, "g", s.g, S_IFLNK);
	mends(&s, FS_FAULT_NAME_TYPE, "/d/g");
}

static void a_directory_with_two_names(void **state)
{
	struct scene s = build();
	uint64_t ino;

	add(&s, ROOT, "again", s.e, S_IFDIR);
	check(&s, true);
	assert_int_equal(look(s.m.fs, s.d, "e", &ino), 0); /* the right one */
	add(&s, ROOT, "again", s.e, S_IFDIR);
	mends(&s, FS_FAULT_NAME_TWICE, "/again");
}

static void the_root_under_a_name(void **state)
{
	struct scene s = build();

	add(&s, s.d, "up", ROOT, S_IFDIR);
	mends(&s, FS_FAULT_NAME_TWICE, "/d/up");
}

static void a_directory_inside_itself(void **state)
{
	struct scene s = build();
	uint64_t ino;

	assert_int_equal(fs_dentry_remove(s.m.fs, ROOT, "d", s.d), 0);
	add(&s, s.e, "d", s.d, S_IFDIR);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_NAME_TWICE], 1);
	assert_int_equal(look(s.m.fs, ROOT, "lost+found", &ino), 0);
	clean(&s);
}

static void bend_parent(struct fs_inode *in)
{
	in->parent = 77;
}

static void a_wrong_dotdot(void **state)
{
	struct scene s = build();

	edit_inode(&s, s.e, bend_parent);
	mends(&s, FS_FAULT_PARENT, "/d/e");
}

static void bend_links(struct fs_inode *in)
{
	in->nlink += 3;
}

static void drop_links(struct fs_inode *in)
{
	in->nlink = 1;
}

static void wrong_link_counts(void **state)
{
	struct scene s = build();
	struct fs_inode in;

	edit_inode(&s, s.g, bend_links);
	edit_inode(&s, s.d, drop_links);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_LINKS], 2);
	assert_int_equal(fs_inode_load(s.m.fs, s.d, &in), 0);
	assert_int_equal(in.nlink, 3);
	edit_inode(&s, s.g, bend_links);
	mends(&s, FS_FAULT_LINKS, "/d/g: its link count is 4 and should be 1");
}

static void a_lost_tree_is_found_again(void **state)
{
	struct scene s = build();
	char name[32];
	uint64_t ino;

	assert_int_equal(fs_dentry_remove(s.m.fs, ROOT, "d", s.d), 0);
	check(&s, true);
	assert_int_equal(look(s.m.fs, ROOT, "lost+found", &ino), 0);
	snprintf(name, sizeof(name), "#%llu", (unsigned long long)s.d);
	assert_int_equal(look(s.m.fs, ino, name, &ino), 0);
	assert_int_equal(ino, s.d);
	assert_int_equal(look(s.m.fs, s.d, "g", &ino), 0);
	assert_int_equal(fs_dentry_remove(s.m.fs, ROOT, "f", s.f), 0);
	mends(&s, FS_FAULT_LOST, "a file without a name");
}

static void an_empty_lost_file_goes(void **state)
{
	struct scene s = build();
	uint64_t before = kv_model_keys(s.m.kv), ino;

	assert_int_equal(touch(s.m.fs, s.d, "new", &ino), 0);
	assert_int_equal(fs_dentry_remove(s.m.fs, s.d, "new", ino), 0);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_UNUSED], 1);
	assert_int_equal(kv_model_keys(s.m.kv), before);
	clean(&s);
}

/* --- orphans ------------------------------------------------------------- */

static void orphans_that_are_none(void **state)
{
	struct scene s = build();

	add(&s, FS_ORPHANS_INO, "0000000000000063", 99, S_IFREG);
	add(&s, FS_ORPHANS_INO, "0000000000000064", s.g, S_IFREG);
	put(&s, fs_key_orphan(s.g), "\1", 1);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_ORPHAN], 2);
	put(&s, fs_key_orphan(s.g), "\1", 1);
	mends(&s, FS_FAULT_SIGN, "no orphan");
}

static void an_orphan_of_a_mount_that_is_gone(void **state)
{
	struct scene s = build();
	struct fs_inode in;

	assert_int_equal(fs_dentry_remove(s.m.fs, s.d, "g", s.g), 0);
	assert_int_equal(fs_inode_load(s.m.fs, s.g, &in), 0);
	assert_int_equal(fs_orphan_make(s.m.fs, &in), 0);
	fs_orphans_free(s.m.fs->orphans); /* it does not live to see to it */
	assert_int_equal(fs_orphans_new(&s.m.fs->orphans), 0);
	mends(&s, FS_FAULT_ORPHAN_LEFT, "left by a mount");
}

static void an_orphan_of_a_mount_that_lives_is_left_alone(void **state)
{
	struct scene s = build();
	struct mount other = mount_open();
	struct fs_inode in;

	assert_int_equal(fs_dentry_remove(s.m.fs, s.d, "g", s.g), 0);
	assert_int_equal(fs_inode_load(s.m.fs, s.g, &in), 0);
	assert_int_equal(fs_orphan_make(s.m.fs, &in), 0);
	assert_int_equal(check(&s, true).found, 0);
	mount_close(&other);
	pool_drop(&s.m);
}

/* --- bytes --------------------------------------------------------------- */

static void a_chunk_that_is_nonsense(void **state)
{
	struct scene s = build();

	put(&s, fs_key_chunk(s.f, 0, 1), "nonsense", 8);
	mends(&s, FS_FAULT_CHUNK_BAD, "/f: bytes from 65536 on");
}

/* A chunk with a page of its own. */
static void make_chunk(struct scene *s, uint64_t ino, uint64_t n, unsigned page)
{
	uint8_t bytes[KV_PAGE_BYTES] = {1};
	const void *from = bytes;
	struct fs_cnode node;
	int status = 1;

	assert_int_equal(fs_cnode_load(s->m.fs, ino, n, 1, &node), 0);
	assert_int_equal(kv_pages_write(s->m.kv, &from, 1, &node.page[page]),
			 0);
	assert_int_equal(fs_cnode_store(s->m.fs, ino, n, 1, &node, &status, 0),
			 0);
}

static void chunks_of_no_file_give_their_pages_back(void **state)
{
	struct scene s = build();
	uint64_t before = kv_model_pages(s.m.kv);

	make_chunk(&s, 4711, 0, 3);
	make_chunk(&s, s.d, 0, 3);
	make_chunk(&s, s.g, 0, 3); /* whose bytes are in its inode */
	make_chunk(&s, s.f, FAR_CHUNK + 1, 0);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_CHUNK_LEAKED], 4);
	assert_int_equal(kv_model_pages(s.m.kv), before);
	make_chunk(&s, 4711, 0, 3);
	mends(&s, FS_FAULT_CHUNK_LEAKED, "inode 4711");
}

static void pages_beyond_the_end(void **state)
{
	struct scene s = build();
	uint64_t before = kv_model_pages(s.m.kv);

	make_chunk(&s, s.f, FAR_CHUNK, 5);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_PAGE_BEYOND], 1);
	assert_int_equal(kv_model_pages(s.m.kv), before);
	make_chunk(&s, s.f, FAR_CHUNK, 5);
	mends(&s, FS_FAULT_PAGE_BEYOND, "/f: bytes from 65536000 on");
}

static void a_page_with_two_names(void **state)
{
	struct scene s = build();
	struct fs_cnode a, b;
	uint64_t before = kv_model_pages(s.m.kv);
	int status = 1;

	assert_int_equal(fs_cnode_load(s.m.fs, s.f, 0, 1, &a), 0);
	assert_int_equal(fs_cnode_load(s.m.fs, s.f, 1, 1, &b), 0);
	kv_pages_free(s.m.kv, &b.page[0], 1);
	b.page[0] = a.page[0];
	assert_int_equal(fs_cnode_store(s.m.fs, s.f, 1, 1, &b, &status, 0), 0);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_PAGE_TWICE], 1);
	assert_int_equal(kv_model_pages(s.m.kv), before);
	clean(&s);
}

static void bend_pages(struct fs_inode *in)
{
	in->pages += 9;
}

static void a_wrong_count_of_pages(void **state)
{
	struct scene s = build();

	edit_inode(&s, s.f, bend_pages);
	mends(&s, FS_FAULT_PAGES, "/f: is said to hold 30 pages, and holds 21");
}

static void bits_that_are_nonsense_or_gone(void **state)
{
	struct scene s = build();
	char c;
	uint64_t off = (uint64_t)FAR_CHUNK * FS_CHUNK_BYTES;
	struct fs_inode in;

	put(&s, fs_key_chunk(s.f, 1, 0), "nonsense", 8);
	check(&s, true);
	assert_int_equal(s.faults[FS_FAULT_MAP_BAD], 1);
	assert_int_equal(fs_inode_load(s.m.fs, s.f, &in), 0);
	assert_int_equal(fs_file_read(s.m.fs, &in, &c, 1, off), 1);
	assert_int_equal(c, 'x');
	del(&s, fs_key_chunk(s.f, 2, 0));
	mends(&s, FS_FAULT_MAP_CLEAR, "/f");
}

static void bits_of_no_file(void **state)
{
	struct scene s = build();

	assert_int_equal(fs_region_mark(s.m.fs, 4711, 100), 0);
	mends(&s, FS_FAULT_MAP_LEAKED, "inode 4711");
}

/* --- attributes ---------------------------------------------------------- */

static uint64_t number_seen;

static int see(void *arg, uint64_t ino, uint64_t number)
{
	number_seen = number;
	return 0;
}

static void bend_list(struct fs_inode *in)
{
	in->body[in->data_len] = 0; /* a name of no length */
}

static void attributes(void **state)
{
	struct scene s = build();
	struct fs_inode in;

	put(&s, fs_key_xattr(s.g, 5), "\1v", 2);
	mends(&s, FS_FAULT_XATTR_LEAKED, "/d/g");
	s = build();
	assert_int_equal(fs_inode_load(s.m.fs, s.f, &in), 0);
	assert_int_equal(fs_xattr_each_value(&in, see, NULL), 0);
	del(&s, fs_key_xattr(s.f, number_seen));
	mends(&s, FS_FAULT_XATTR_DEAD, "/f");
	s = build();
	edit_inode(&s, s.f, bend_list);
	mends(&s, FS_FAULT_XATTR_BAD, "/f");
}

/* --- others at work ------------------------------------------------------ */

/* Another mount made a file and has not named it yet; between the looks it
 * does: that is no fault. One that stays is. */
static void *name_it(void *arg)
{
	struct scene *s = arg;

	usleep(100000);
	add(s, s->d, "late", s->g, S_IFREG);
	return NULL;
}

static void what_another_mount_is_doing_is_no_fault(void **state)
{
	struct scene s = build();
	struct mount other = mount_open();
	struct fs_fsck_opts o = {.settle_ms = 400, .fault = note, .arg = &s};
	struct fs_fsck_sum sum;
	pthread_t t;

	assert_int_equal(fs_dentry_remove(s.m.fs, s.d, "g", s.g), 0);
	assert_int_equal(pthread_create(&t, NULL, name_it, &s), 0);
	assert_int_equal(fs_fsck(s.m.kv, &o, &sum), 0);
	pthread_join(t, NULL);
	assert_int_equal(sum.found, 0);
	assert_int_equal(fs_dentry_remove(s.m.fs, s.d, "late", s.g), 0);
	assert_int_equal(fs_fsck(s.m.kv, &o, &sum), 0);
	assert_int_equal(sum.found, 1);
	mount_close(&other);
	pool_drop(&s.m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sound_tree_is_said_to_be_sound),
		cmocka_unit_test(an_empty_pool_is_sound),
		cmocka_unit_test(a_lost_superblock_is_told_and_left),
		cmocka_unit_test(a_lost_count_of_moves),
		cmocka_unit_test(a_key_of_no_kind),
		cmocka_unit_test(
			a_file_whose_inode_is_nonsense_keeps_its_bytes),
		cmocka_unit_test(
			a_directory_whose_inode_is_nonsense_keeps_its_names),
		cmocka_unit_test(no_root),
		cmocka_unit_test(a_node_that_is_nonsense),
		cmocka_unit_test(an_inner_node_that_is_nonsense),
		cmocka_unit_test(a_node_that_is_gone),
		cmocka_unit_test(a_directory_without_its_trie),
		cmocka_unit_test(a_node_that_nobody_names),
		cmocka_unit_test(a_name_with_a_wrong_hash),
		cmocka_unit_test(a_name_without_an_inode),
		cmocka_unit_test(a_name_of_another_type),
		cmocka_unit_test(a_directory_with_two_names),
		cmocka_unit_test(the_root_under_a_name),
		cmocka_unit_test(a_directory_inside_itself),
		cmocka_unit_test(a_wrong_dotdot),
		cmocka_unit_test(wrong_link_counts),
		cmocka_unit_test(a_lost_tree_is_found_again),
		cmocka_unit_test(an_empty_lost_file_goes),
		cmocka_unit_test(orphans_that_are_none),
		cmocka_unit_test(an_orphan_of_a_mount_that_is_gone),
		cmocka_unit_test(an_orphan_of_a_mount_that_lives_is_left_alone),
		cmocka_unit_test(a_chunk_that_is_nonsense),
		cmocka_unit_test(chunks_of_no_file_give_their_pages_back),
		cmocka_unit_test(pages_beyond_the_end),
		cmocka_unit_test(a_page_with_two_names),
		cmocka_unit_test(a_wrong_count_of_pages),
		cmocka_unit_test(bits_that_are_nonsense_or_gone),
		cmocka_unit_test(bits_of_no_file),
		cmocka_unit_test(attributes),
		cmocka_unit_test(what_another_mount_is_doing_is_no_fault),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
