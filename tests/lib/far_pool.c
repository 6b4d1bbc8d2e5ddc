/* tests/lib/far_pool.c - see far_pool.h. */
#include "tests/lib/far_pool.h"

#include <errno.h>

#include "kv/hello.h"
#include "rdma/fabric.h"
#include "tests/contract/fabric_tcp.h"

int far_pool(uint32_t nodes, uint32_t k, struct layout_super *super,
	     char at[][PROTO_ADDRESS_BYTES])
{
	struct layout_shape shape = {.nodes = nodes,
				     .k = k,
				     .m = 1,
				     .usable = 8 << 20,
				     .block_bytes = 64 << 10,
				     .slots = 1024,
				     .clients = 2};

	*super = (struct layout_super){.magic = LAYOUT_MAGIC,
				       .version = LAYOUT_VERSION,
				       .uuid = "pool"};
	for (unsigned i = 0; i <= nodes; i++)
		contract_tcp_address(i, at[i], PROTO_ADDRESS_BYTES);
	return layout_of(&shape, &super->layout);
}

bool far_without_rdma(void)
{
	struct proto_hello h;
	struct fab_net *net;
	int rc;

	hello_fill(&h, PROTO_TOOL, NULL);
	if (fab_any_open(&contract_tcp_key, &net) != 0)
		return false;
	rc = hello_attach(net, 0, "verbs:127.0.0.1:4711", &h);
	fab_net_close(net);
	return rc == -ENODEV;
}
