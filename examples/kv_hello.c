/* examples/kv_hello.c - write a key, read it back.
 *	cc kv_hello.c $(pkg-config --cflags --libs aceso) -o kv_hello
 *	aceso-fuse -o pool=demo /mnt/demo && ./kv_hello
 * /run/aceso/demo/pool.sock
 */
#include <aceso/kv.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct kv_opts opts = {.pool = argc > 1 ? argv[1] : NULL};
	static const char key[] = "u"
				  "hello"; /* users' keys begin with u */
	const char *text = argc > 2 ? argv[2] : "hello, memory of many";
	char buf[KV_VALUE_BYTES_MAX];
	struct kv *kv;
	uint64_t version;
	size_t len;
	int rc;

	if (opts.pool == NULL) {
		fprintf(stderr, "usage: kv_hello POOL_SOCKET [TEXT]\n");
		return 2;
	}
	if (kv_open(&opts, &kv) < 0) {
		fprintf(stderr, "kv_hello: %s\n", kv_error());
		return 1;
	}
	rc = kv_put(kv, key, strlen(key), text, strlen(text), NULL);
	if (rc == 0)
		rc = kv_get(kv, key, strlen(key), buf, sizeof(buf), &len,
			    &version);
	if (rc == 0)
		printf("%.*s (version %llu)\n", (int)len, buf,
		       (unsigned long long)version);
	else
		fprintf(stderr, "kv_hello: %s\n", strerror(-rc));
	kv_close(kv);
	return rc == 0 ? 0 : 1;
}
