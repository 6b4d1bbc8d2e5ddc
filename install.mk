# install.mk - what goes where: included by the Makefile after its variables.
#   make install DESTDIR=/tmp/stage prefix=/usr
# mount(8) looks for its helpers in /sbin only, so mountsbindir does not follow
# prefix; say mountsbindir= yourself to have it elsewhere.
exec_prefix ?= $(prefix)
bindir ?= $(exec_prefix)/bin
libdir ?= $(exec_prefix)/lib
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
docdir ?= $(prefix)/share/doc/aceso
# systemd looks below /etc, /run, /usr/local/lib and /usr/lib
systemdlibdir ?= $(prefix)/lib
sysconfdir ?= /etc
localstatedir ?= /var
runstatedir ?= /run
mountsbindir ?= /sbin
INSTALL ?= install
SCDOC ?= scdoc

ABI := 0
SOLIB := libaceso.so.$(ABI)
MAP := mount-helper/libaceso.map
MAN_SRC := $(wildcard mount-helper/*.scd)
MAN := $(MAN_SRC:mount-helper/%.scd=$(B)/man/%)
# Other names of pages, as links (scdoc would not have the @): NAME:PAGE
MAN_LINKS := aceso-pool@.service.8:aceso-pool.8 mount.fuse.aceso.8:mount.aceso.8

# The library that others link: only kv/kv.h's names are seen from outside.
$(B)/$(SOLIB): $(KV_OBJ) $(MAP)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -shared -Wl,-soname,$(SOLIB) \
		-Wl,--version-script,$(MAP) -Wl,-z,defs $(KV_OBJ) -o $@ $(LIBS_KV)

LIBS_KV := $(shell $(PKG_CONFIG) --libs libisal libxxhash jansson liblz4 libssl libcrypto librdmacm libibverbs) -lpthread

$(B)/aceso.pc: mount-helper/aceso.pc.in VERSION install.mk
	@mkdir -p $(@D)
	sed -e 's|@prefix@|$(prefix)|' -e 's|@libdir@|$(libdir)|' \
		-e 's|@includedir@|$(includedir)|' \
		-e 's|@VERSION@|$(VERSION)|' $< > $@.tmp
	mv $@.tmp $@

# Units and the like: packaging/NAME.in with the folders filled in.
UNIT := aceso-pool@.service
PACKAGING := $(addprefix $(B)/packaging/,$(UNIT) aceso.sysusers aceso.tmpfiles)
$(B)/packaging/%: packaging/%.in install.mk
	@mkdir -p $(@D)
	sed -e 's|@bindir@|$(bindir)|' -e 's|@sysconfdir@|$(sysconfdir)|' \
		-e 's|@localstatedir@|$(localstatedir)|' \
		-e 's|@runstatedir@|$(runstatedir)|' $< > $@.tmp
	mv $@.tmp $@

# what has folders in it, which may have changed since the last time
.PHONY: placed
placed:
	@rm -f $(B)/aceso.pc $(PACKAGING)
	@$(MAKE) --no-print-directory $(B)/aceso.pc $(PACKAGING)

$(B)/man/%: mount-helper/%.scd
	@mkdir -p $(@D)
	$(SCDOC) < $< > $@.tmp
	mv $@.tmp $@

man: $(MAN)

install: all $(B)/$(SOLIB) $(MAN) placed
	$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(mountsbindir) \
		$(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir)/aceso \
		$(addprefix $(DESTDIR)$(mandir)/man,1 5 8) $(DESTDIR)$(docdir) \
		$(addprefix $(DESTDIR)$(systemdlibdir)/,systemd/system sysusers.d tmpfiles.d)
	$(INSTALL) -m 755 $(B)/bin/aceso-fuse $(B)/bin/aceso-node \
		$(B)/bin/aceso-coordinator $(B)/bin/aceso $(DESTDIR)$(bindir)
	$(INSTALL) -m 755 $(B)/bin/mount.aceso $(DESTDIR)$(mountsbindir)
	ln -sf mount.aceso $(DESTDIR)$(mountsbindir)/mount.fuse.aceso
	$(INSTALL) -m 644 $(B)/libaceso.a $(DESTDIR)$(libdir)
	$(INSTALL) -m 755 $(B)/$(SOLIB) $(DESTDIR)$(libdir)
	ln -sf $(SOLIB) $(DESTDIR)$(libdir)/libaceso.so
	$(INSTALL) -m 644 $(B)/aceso.pc $(DESTDIR)$(libdir)/pkgconfig
	$(INSTALL) -m 644 kv/kv.h $(DESTDIR)$(includedir)/aceso
	$(INSTALL) -m 644 $(filter %.1,$(MAN)) $(DESTDIR)$(mandir)/man1
	$(INSTALL) -m 644 $(filter %.5,$(MAN)) $(DESTDIR)$(mandir)/man5
	$(INSTALL) -m 644 $(filter %.8,$(MAN)) $(DESTDIR)$(mandir)/man8
	for link in $(MAN_LINKS); do \
		ln -sf "$${link#*:}" "$(DESTDIR)$(mandir)/man8/$${link%:*}" || exit; \
	done
	$(INSTALL) -m 644 packaging/aceso.conf.example $(DESTDIR)$(docdir)
	$(INSTALL) -m 644 $(B)/packaging/$(UNIT) $(DESTDIR)$(systemdlibdir)/systemd/system
	$(INSTALL) -m 644 $(B)/packaging/aceso.sysusers $(DESTDIR)$(systemdlibdir)/sysusers.d/aceso.conf
	$(INSTALL) -m 644 $(B)/packaging/aceso.tmpfiles $(DESTDIR)$(systemdlibdir)/tmpfiles.d/aceso.conf
ifeq ($(DESTDIR),)
	-ldconfig
	-command -v systemd-sysusers >/dev/null && \
		systemd-sysusers $(systemdlibdir)/sysusers.d/aceso.conf && \
		systemd-tmpfiles --create $(systemdlibdir)/tmpfiles.d/aceso.conf
	-test ! -d /run/systemd/system || systemctl daemon-reload
endif

uninstall:
	rm -f $(addprefix $(DESTDIR)$(bindir)/,aceso-fuse aceso-node aceso-coordinator aceso) \
		$(addprefix $(DESTDIR)$(mountsbindir)/,mount.aceso mount.fuse.aceso) \
		$(addprefix $(DESTDIR)$(libdir)/,libaceso.a libaceso.so $(SOLIB)) \
		$(DESTDIR)$(libdir)/pkgconfig/aceso.pc \
		$(DESTDIR)$(includedir)/aceso/kv.h \
		$(addprefix $(DESTDIR)$(mandir)/man1/,$(notdir $(filter %.1,$(MAN)))) \
		$(addprefix $(DESTDIR)$(mandir)/man5/,$(notdir $(filter %.5,$(MAN)))) \
		$(addprefix $(DESTDIR)$(mandir)/man8/,$(notdir $(filter %.8,$(MAN)))) \
		$(foreach l,$(MAN_LINKS),$(DESTDIR)$(mandir)/man8/$(firstword $(subst :, ,$l))) \
		$(DESTDIR)$(docdir)/aceso.conf.example \
		$(DESTDIR)$(systemdlibdir)/systemd/system/$(UNIT) \
		$(DESTDIR)$(systemdlibdir)/sysusers.d/aceso.conf \
		$(DESTDIR)$(systemdlibdir)/tmpfiles.d/aceso.conf
	-rmdir $(DESTDIR)$(includedir)/aceso $(DESTDIR)$(docdir)

# Tests of this room see its files too. They lean on the archives, so those
# are named once more behind them.
DOOR_TESTS := $(filter $(B)/tests/unit/door_%,$(TEST_BIN))
$(DOOR_TESTS): $(DOOR_OBJ)
$(DOOR_TESTS): LIBS := $(B)/libfs.a $(B)/libaceso.a $(LIBS)

.PHONY: man install uninstall
