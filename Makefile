# One Makefile. Objects lie in build/$(MODE)/ and mirror the tree.
#   make            programs and library       make check      all tests
#   make start      build and mount            make stop       unmount
#   make help       the other targets
MODE ?= release
CC = gcc
PKG_CONFIG ?= pkg-config
DESTDIR ?=
prefix ?= /usr/local
B := build/$(MODE)

PKGS := fuse3 inih libisal libxxhash jansson liblz4 libssl libcrypto librdmacm libibverbs \
	libsystemd liburing
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) 2>/dev/null)
VERSION := $(shell cat VERSION 2>/dev/null || echo 0.1.0)

OPT_release := -O2 -g
OPT_asan := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT_tsan := -O1 -g -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan
OPT_cov := -O0 -g --coverage
# with CC=clang: see fuzz
OPT_fuzz := -O1 -g -Wno-gnu-variable-sized-type-not-at-end -fsanitize=fuzzer-no-link,address,undefined \
	-fno-sanitize-recover=undefined -fno-omit-frame-pointer
CFLAGS ?=
ALL_CFLAGS := -std=gnu11 $(OPT_$(MODE)) -Wall -Wextra -Wshadow -Wstrict-prototypes \
	-Wmissing-prototypes -Wno-unused-parameter -Werror -fvisibility=default \
	-D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DACESO_VERSION='"$(VERSION)"' \
	-msse4.2 -pthread -fPIC -iquote . $(PKG_CFLAGS) $(CFLAGS)
LIBS := $(PKG_LIBS) -lpthread

ROOMS := rdma ec checkpoint kv kv/client kv/node fs fs/ops
ROOM_SRC := $(foreach r,$(ROOMS),$(wildcard $(r)/*.c))
ROOM_OBJ := $(ROOM_SRC:%.c=$(B)/%.o)
KV_OBJ := $(filter-out $(B)/fs/%,$(ROOM_OBJ))
FS_OBJ := $(filter $(B)/fs/%,$(ROOM_OBJ))

# A program is a file of mount-helper/ with a main(); the others are shared.
MAINS := aceso-fuse aceso-node aceso-coordinator aceso mount.aceso
# Only the coordinator speaks with ZooKeeper.
ZK_SRC := mount-helper/zkstore.c mount-helper/zkacl.c
DOOR_SRC := $(filter-out $(MAINS:%=mount-helper/%.c) $(ZK_SRC),$(wildcard mount-helper/*.c))
DOOR_OBJ := $(DOOR_SRC:%.c=$(B)/%.o)
PROGRAMS := $(foreach m,$(MAINS),$(if $(wildcard mount-helper/$(m).c),$(B)/bin/$(m)))

# Test programs: every *_test.c is one. tests/fsmodel/ runs fs/ on a model of
# the store (tests/lib/kv_model*.c) and must not meet the real one.
TLIB_SRC := $(filter-out tests/lib/kv_model%.c,$(wildcard tests/lib/*.c)) \
	$(wildcard tests/contract/fabric_*.c)
# tests/lib/fault_alloc.c lets the n-th allocation of our own code fail
FAULT_LINK := $(foreach f,malloc calloc realloc aligned_alloc posix_memalign \
	strdup,-Wl,--wrap=$(f))
TLIB_OBJ := $(TLIB_SRC:%.c=$(B)/%.o)
SUITES := unit contract crash sim golden
TEST_SRC := $(foreach s,$(SUITES),$(wildcard tests/$(s)/*_test.c))
TEST_BIN := $(TEST_SRC:%.c=$(B)/%)
KV_MODEL := $(patsubst %.c,$(B)/%.o,$(wildcard tests/lib/kv_model*.c))
FSM_SRC := $(wildcard tests/fsmodel/*.c)
FSM_BIN := $(FSM_SRC:%.c=$(B)/%)
HISTORIES := $(B)/tests/mount/histories
FULLSOAK := $(B)/tests/mount/fullsoak
BENCH_SRC := $(filter-out tests/bench/netraw.c,$(wildcard tests/bench/*.c))
BENCH_BIN := $(BENCH_SRC:%.c=$(B)/%)

# One short line a step; V=1 shows the commands.
V ?= 0
ifeq ($(V),0)
Q := @
step = @echo '  $(1) $@';
else
step =
endif

all: $(B)/libaceso.a $(PROGRAMS) links
.PHONY: all links tests clean help
.SECONDARY:

# build/bin always shows the release programs
links: $(PROGRAMS)
ifeq ($(MODE),release)
	@mkdir -p build/bin
	@for p in $(PROGRAMS); do ln -sfn ../$(MODE)/bin/$$(basename $$p) build/bin/$$(basename $$p); done
endif

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call step,CC)
	$(Q)$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/libaceso.a: $(KV_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(call step,AR)
	$(Q)ar qcs $@ $^

$(B)/libfs.a: $(FS_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(call step,AR)
	$(Q)ar qcs $@ $^

LIBS_aceso-coordinator := -lzookeeper_mt
$(B)/bin/aceso-coordinator: $(ZK_SRC:%.c=$(B)/%.o)

$(B)/bin/%: $(B)/mount-helper/%.o $(DOOR_OBJ) $(B)/libfs.a $(B)/libaceso.a
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(LIBS) $(LIBS_$*)

tests: $(TEST_BIN) $(FSM_BIN) $(HISTORIES) $(FULLSOAK)

$(B)/libtests.a: $(TLIB_OBJ)
	@mkdir -p $(@D)
	@rm -f $@
	$(call step,AR)
	$(Q)ar qcs $@ $^

$(TEST_BIN): $(B)/%: $(B)/%.o $(B)/libtests.a $(B)/libfs.a $(B)/libaceso.a
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(ALL_CFLAGS) -Wl,--start-group $^ -Wl,--end-group -o $@ \
		$(FAULT_LINK) $(LIBS) -lcmocka

$(FSM_BIN): $(B)/%: $(B)/%.o $(KV_MODEL) $(B)/tests/lib/fs_tree.o $(B)/libfs.a
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(LIBS) -lcmocka

$(B)/tests/bench/netbench: $(B)/tests/bench/netraw.o
$(B)/tests/bench/netkv: LIBS += -lcmocka

$(BENCH_BIN) $(HISTORIES) $(FULLSOAK): $(B)/%: $(B)/%.o $(B)/libtests.a $(B)/libfs.a $(B)/libaceso.a
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(ALL_CFLAGS) $^ -o $@ $(LIBS)

clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# --- for people ---------------------------------------------------------------
DIR ?= /mnt/aceso
.PHONY: check-rdma start stop check lint lint-format lint-cppcheck bench deps format

deps:
	@scripts/deps.sh build

start: deps
	@$(MAKE) --no-print-directory -j2 all
	@scripts/start.sh $(DIR)

stop:
	@scripts/stop.sh $(DIR)

# Everything. STAGES="lint programs" runs some: see tests/run.py --help.
check:
	@scripts/deps.sh test
	@tests/run.py $(STAGES)

# Real verbs, soft-RoCE in a QEMU guest (tests/rdma-vm.sh): the fabric's contract,
# a pool of five nodes with a mount, nodes killed. Its kernel does TLS, too: the
# contract over TCP with that. In two guests a host is stopped, and switched off.
check-rdma:
	@scripts/deps.sh rdma
	@tests/run.py rdma

lint:
	@scripts/deps.sh test
	@tests/run.py lint

C_FILES = $(shell git ls-files -co --exclude-standard '*.c' '*.h')

format:
	clang-format -i $(C_FILES)

lint-format:
	clang-format --dry-run -Werror $(C_FILES)

lint-cppcheck:
	cppcheck --quiet --std=c11 --language=c --error-exitcode=1 -j2 \
		--inline-suppr --enable=warning,portability \
		--suppress=missingIncludeSystem -I . -D_GNU_SOURCE \
		--include=/usr/include/$(shell gcc -print-multiarch)/sys/queue.h \
		$(wildcard rdma ec checkpoint kv fs mount-helper)

# The fabric beside its transports' raw speed; the store's round trips. Then the
# same over verbs, in the guest that has them.
.PHONY: bench-net
bench-net: all $(BENCH_BIN)
	@scripts/deps.sh rdma
	@/usr/bin/python3 tests/bench/net.py $(if $(SHORT),--rounds 1 --ms 100)
	@tests/rdma-vm.sh -t 600 /usr/bin/python3 tests/bench/net.py --verbs 10.77.0.1 \
		$(if $(SHORT),--rounds 1 --ms 100)

bench: all $(BENCH_BIN)
	@/usr/bin/python3 tests/bench/bench.py $(if $(SHORT),--short)

# Long runs of what check runs shortly. FROM=seed SEEDS=n EFFORT=factor
# SECONDS=n; SOAK='sim/fs_seeds ...' only some suites.
.PHONY: sim-soak crash-all fuzz
SEEDS ?= 1000
FROM ?= 1
SOAK_SUITES := $(addprefix $(B)/tests/,$(addsuffix _test,sim/store_seeds sim/fs_seeds \
	sim/cluster_stress sim/kv_linear sim/kv_pages_sim sim/kv_reclaim crash/scene_seeds))
sim-soak: $(SOAK_SUITES)
	@tests/soak.py --from=$(FROM) --seeds=$(SEEDS) --build=$(B) $(SOAK)

# A death at every remote operation of everything, pairs of deaths: an hour.
CRASH_ALL := $(addprefix $(B)/tests/crash/,$(addsuffix _test,node_kill fs_kill pair_kill \
	node_replace node_restore promote_kill clean_kill power_loss kv_client_stop \
	kv_fence))
crash-all: $(CRASH_ALL)
	@for t in $^; do echo "$$t"; EVERY=1 SAMPLES=200 $$t || exit 1; done

.PHONY: bench-recovery
bench-recovery: all $(BENCH_BIN)
	@ACESO_BIN=$(CURDIR)/$(B)/bin /usr/bin/python3 tests/bench/recovery.py --respawn
	@ACESO_BIN=$(CURDIR)/$(B)/bin /usr/bin/python3 tests/bench/recovery.py --full
	@ACESO_BIN=$(CURDIR)/$(B)/bin /usr/bin/python3 tests/bench/recovery.py --checkpoints

# Real mounts and real nodes, killed and stopped at random. ACESO_SEED=n
.PHONY: chaos
SECONDS ?= 300
chaos: all
	ACESO_BIN=$(CURDIR)/$(B)/bin ACESO_CHAOS_SECONDS=$(SECONDS) /usr/bin/python3 \
		-m pytest -p no:cacheprovider -q -rP tests/mount/test_chaos.py

# Recorded histories of processes on a real pool, with deaths. ACESO_SEED=n
.PHONY: histories
histories: all $(HISTORIES)
	ACESO_BIN=$(CURDIR)/$(B)/bin ACESO_HISTORIES_SECONDS=$(SECONDS) /usr/bin/python3 \
		-m pytest -p no:cacheprovider -q -rP tests/mount/test_histories.py

# A pool that stays 95 % full, overwritten at random. ACESO_SEED=n
.PHONY: fullsoak
fullsoak: all $(FULLSOAK)
	ACESO_BIN=$(CURDIR)/$(B)/bin ACESO_FULL_SECONDS=$(SECONDS) /usr/bin/python3 \
		-m pytest -p no:cacheprovider -q -rP tests/mount/test_full.py

# Every decoder under libFuzzer, SECONDS each; T=name: one of tests/fuzz/. What
# is found is kept in build/fuzz/found; FUZZ_FILE=... gives it to the target's
# test program (tests/unit/), of any MODE.
FUZZ_NAMES := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))
fuzz:
	@tests/fuzz/run.sh $(SECONDS) $(or $(T),$(FUZZ_NAMES))

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ_NAMES:%=$(B)/fuzz/%)

$(B)/fuzz/conf $(B)/fuzz/ini $(B)/fuzz/poolconf: $(DOOR_OBJ)

$(B)/fuzz/%: $(B)/tests/fuzz/%.o $(B)/tests/lib/fuzz_corpus.o $(B)/libtests.a $(B)/libfs.a $(B)/libaceso.a
	@mkdir -p $(@D)
	$(call step,LD)
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -Wl,--start-group $^ \
		-Wl,--end-group -o $@ $(LIBS) -lcmocka

help:
	@echo 'start [DIR=/mnt/aceso]   install packages, build, mount an embedded pool'
	@echo 'stop  [DIR=/mnt/aceso]   unmount and end it'
	@echo 'check [STAGES=...]       all tests: build lint programs mount install rdma asan tsan bench'
	@echo 'bench [SHORT=1]          ratios to tmpfs and to passthrough_ll, in one run'
	@echo 'check-rdma               the fabric, a pool and a mount over real verbs, in a QEMU guest'
	@echo 'sim-soak [SEEDS=1000]    whole clusters from seeds, with deaths; FROM=1'
	@echo 'crash-all                a death at every remote operation, and pairs of them'
	@echo 'bench-net [SHORT=1]      the fabric beside raw sockets, TLS; round trips counted'
	@echo 'bench-recovery           how long until a read, the index, full redundancy'
	@echo 'chaos [SECONDS=300]      real mounts, nodes and mounts killed and stopped at random'
	@echo 'histories [SECONDS=300]  recorded histories of a real pool with deaths are linearizable'
	@echo 'fullsoak [SECONDS=300]   a pool that stays 95 % full, overwritten at random, every byte compared'
	@echo 'fuzz [T=name SECONDS=n]  every decoder, hostile bytes, under libFuzzer'
	@echo 'install, uninstall       DESTDIR= prefix=/usr/local'
	@echo 'format lint clean'

-include install.mk
