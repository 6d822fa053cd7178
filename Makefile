# SPDX-License-Identifier: MIT
#
#   make              the library, the tool, the examples and the bench, in build/
#   make check        all tests; with EXTRA=asan, ubsan or tsan in a build directory of their own, with BRIEF=1 fewer
#   make fuzz, afl    libFuzzer, or AFL++, on every parser, SECONDS=60 each; TARGET=… for one
#   make usual FROM=…  puts measured costs into mech/usual.c, for machines on which nobody has measured
#   make fails        every call that the library makes fails with each of its errors; goes on where it was stopped
#   make arrows lint format bench bench-guard soak crash models flood peers chaos histories wake tide strange coverage conform-all install uninstall clean
#
# What measures stands in bench/bench.mk, and the tests in tests/tests.mk.
# CC=clang works. Variables for packagers: PREFIX, LIBDIR, DESTDIR, CFLAGS_ADD, LDFLAGS_ADD.

EXTRA ?=
ifeq ($(filter $(EXTRA),asan ubsan tsan fuzz)$(if $(EXTRA),,none),)
$(error EXTRA is asan, ubsan, tsan or empty, not "$(EXTRA)")
endif
B := build$(addprefix /,$(EXTRA))

ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INSTALL ?= install
VERSION := $(shell sed -n 's/^.define THIRL_VERSION "\(.*\)"/\1/p' include/thirl/thirl.h)
SONAME := libthirl.so.0

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wwrite-strings -Wvla -Wundef \
	-Werror
# asan looks for undefined behaviour as well, so that one run does for both.
SANITIZE_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
SANITIZE_ubsan := -fsanitize=undefined -fno-sanitize-recover=all
SANITIZE_tsan := -fsanitize=thread
# `make fuzz` alone uses it, with clang.
SANITIZE_fuzz := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# In code that is instrumented gcc sees what is not there: warnings are for the code as it is.
SANITIZE := $(if $(EXTRA),$(SANITIZE_$(EXTRA)) -w)

# Empty, so that a file which defines it as well defines the same.
CPPFLAGS := -I. -Iinclude -D_GNU_SOURCE=
# A 32-bit program is to see files and times as large as they are.
CPPFLAGS += $(if $(filter 4,$(shell echo __SIZEOF_POINTER__ | $(CC) -E -P - 2>&1)),-D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64)
# A sanitizer names lines, and needs nothing else; the compiler takes half as long for a test that nobody waits for. What is undefined is
# looked for in the library, and not in its tests.
# Where in a cache line a function, a loop or the target of a jump happened to begin made up to a third of a short read, and changed with anything
# before it. clang knows no -falign-jumps.
ALIGNED := -falign-functions=64 -falign-loops=32 $(if $(filter __clang__,$(shell echo __clang__ | $(CC) -E -P -)),-falign-jumps=32)
SPEED := $(if $(EXTRA),-O1 -g1,-O2 -g $(ALIGNED))
TEST_SPEED := -O1 -g1
BRISK := $(if $(filter asan,$(EXTRA)),-O0 -fno-sanitize=undefined)
COMPILE = $(CC) -pipe $(CPPFLAGS) -std=gnu11 $(SPEED) $(WARN) -fvisibility=hidden -fPIC -fno-plt -pthread $(SANITIZE) $(CFLAGS_ADD)
LINK = $(CC) -pthread $(SANITIZE) $(LDFLAGS_ADD)
# There are many tests to link.
QUICK := $(if $(shell command -v ld.gold),-fuse-ld=gold)

# ---- what there is --------------------------------------------------------------------------------------------------

LIBRARY := $(wildcard $(addsuffix /*.c,base mem sync wire mech chan pattern serve))
TOOL := $(if $(filter tsan,$(EXTRA)),,$(wildcard tool/*.c))
# Event loops that are no part of libc: each example is built where pkg-config knows its library.
LOOPS := uv=libuv glib=glib-2.0 uring=liburing
ABSENT := $(strip $(foreach loop,$(LOOPS),$(if $(shell pkg-config --exists $(lastword $(subst =, ,$(loop))) 2>&1 || echo no),$(loop))))
EXAMPLE := $(if $(EXTRA),,$(filter-out $(foreach loop,$(ABSENT),example/loop-$(firstword $(subst =, ,$(loop))).c),$(wildcard example/*.c)))
$(foreach loop,$(filter-out $(ABSENT),$(LOOPS)),$(eval LOOP_HEADERS_$(firstword $(subst =, ,$(loop))) := \
	$(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(lastword $(subst =, ,$(loop)))))))
$(foreach loop,$(filter-out $(ABSENT),$(LOOPS)),$(eval LOOP_LIBS_$(firstword $(subst =, ,$(loop))) := \
	$(shell pkg-config --libs $(lastword $(subst =, ,$(loop))))))

WOVEN := $(LIBRARY:%.c=$(B)/weave/%.o)
# A sanitizer sees the same in a library with points as in one without: only that one is built for it.
OBJECTS := $(if $(EXTRA),$(WOVEN),$(LIBRARY:%.c=$(B)/obj/%.o))
TOOL_OBJECTS := $(TOOL:%.c=$(B)/obj/%.o)
EXAMPLE_OBJECTS := $(EXAMPLE:%.c=$(B)/obj/%.o)

WEAVE := $(B)/weave/libthirl.a
STATIC := $(if $(EXTRA),$(WEAVE),$(B)/libthirl.a)
# A sanitizer's runtime is in the program only, so that its build has no shared library.
SHARED := $(if $(EXTRA),,$(B)/$(SONAME))
TOOL_PROGRAM := $(if $(TOOL),$(B)/thirl)
TOOL_WEAVE := $(if $(EXTRA),$(TOOL_PROGRAM),$(if $(TOOL),$(B)/weave/thirl))
EXAMPLES := $(EXAMPLE:%.c=$(B)/%)

include bench/bench.mk tests/tests.mk

.DEFAULT_GOAL := all
.PHONY: all lint format install uninstall clean FORCE
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/absent $(STATIC) $(SHARED) $(TOOL_PROGRAM) $(BENCH_PROGRAM) $(PEERS) $(EXAMPLES)

# ---- how it is made -------------------------------------------------------------------------------------------------

# Everything is built again when the compiler or a flag is another one.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(COMPILE) / $(TEST_SPEED) $(BRISK) / $(LINK) $(QUICK)' | cmp -s - $@ || \
		echo '$(COMPILE) / $(TEST_SPEED) $(BRISK) / $(LINK) $(QUICK)' >$@

# Said once, and again when it is something else.
$(B)/absent: FORCE
	@mkdir -p $(@D)
	@echo '$(ABSENT)' | cmp -s - $@ || { echo '$(ABSENT)' >$@; \
		[ -z '$(ABSENT)' ] || echo 'not here, so their examples are not built: $(subst =, of ,$(ABSENT))'; }

$(B)/obj/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(LOOP_HEADERS_$(patsubst example/loop-%,%,$*)) -MMD -MP -c -o $@ $<

$(WOVEN): private SPEED := $(SPEED:-g=-g1)
$(B)/weave/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(COMPILE) -DTHIRL_WEAVE -MMD -MP -c -o $@ $<

# Built anew each time: an archive would keep the objects of files that are gone.
$(STATIC): $(OBJECTS)
$(WEAVE): $(WOVEN)
%.a:
	@mkdir -p $(@D)
	rm -f $@
	ar rcs $@ $^

$(B)/$(SONAME): $(OBJECTS) libthirl.map
	$(LINK) -shared -Wl,-soname,$(SONAME) -Wl,--version-script,libthirl.map -Wl,-z,nodelete -Wl,-z,defs \
		-o $@ $(OBJECTS)
	ln -sf $(SONAME) $(B)/libthirl.so

$(B)/thirl: $(TOOL_OBJECTS) $(STATIC)
	$(LINK) -o $@ $^

$(B)/weave/thirl: $(TOOL_OBJECTS) $(WEAVE)
	$(LINK) -o $@ $^

$(EXAMPLES): $(B)/%: $(B)/obj/%.o $(STATIC)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LOOP_LIBS_$(patsubst example/loop-%,%,$*))

-include $(patsubst %.o,%.d,$(OBJECTS) $(WOVEN) $(TOOL_OBJECTS) $(EXAMPLE_OBJECTS))

# ---- looking at it ---------------------------------------------------------------------------------------------------

C_FILES = $(LIBRARY) $(TOOL) $(BENCH) $(EXAMPLE) $(TEST) $(TEST_SUPPORT) $(FUZZ) tests/fuzz/replay.c tests/fault/fault.c
H_FILES = $(wildcard */*.h include/thirl/*.h tests/*/*.h)

lint:
	@printf '%s\n' $(C_FILES) | xargs -P 2 -n 3 sh -c 'clang-tidy --quiet "$$@" -- $(CPPFLAGS) $(foreach loop,$(LOOPS),$(LOOP_HEADERS_$(firstword $(subst =, ,$(loop))))) -std=gnu11 -DTHIRL_WEAVE' lint
	@cppcheck --quiet --std=c11 --language=c --error-exitcode=1 --enable=warning,portability,performance \
		--inline-suppr --suppress=missingIncludeSystem --suppressions-list=.cppcheck -I. -Iinclude -D_GNU_SOURCE \
		-DTHIRL_WEAVE -D__cppcheck__ $(C_FILES)

format:
	clang-format -i $(C_FILES) $(H_FILES)

# ---- putting it there -----------------------------------------------------------------------------------------------

TO_LIB = $(DESTDIR)$(LIBDIR)
MAN = $(wildcard man/*.[1-9])
# A page that describes several functions is found by the name of each.
EACH_OTHER_NAME = for page in $(MAN); do for name in $$(sed -n '/^\.Nd/q; s/^\.Nm \([a-z_-]*\).*/\1/p' $$page); do \
	link=$(DESTDIR)$(PREFIX)/share/man/man$${page\#\#*.}/$$name.$${page\#\#*.}; [ -f man/$${link\#\#*/} ] ||

install: all
	$(INSTALL) -d $(DESTDIR)$(PREFIX)/include/thirl $(TO_LIB)/pkgconfig $(DESTDIR)$(PREFIX)/bin
	$(INSTALL) -m 644 include/thirl/*.h $(DESTDIR)$(PREFIX)/include/thirl/
	$(INSTALL) -m 644 $(STATIC) $(TO_LIB)/
	$(INSTALL) -m 755 $(B)/$(SONAME) $(TO_LIB)/libthirl.so.$(VERSION)
	ln -sf libthirl.so.$(VERSION) $(TO_LIB)/$(SONAME)
	ln -sf $(SONAME) $(TO_LIB)/libthirl.so
	printf '%s\n' 'prefix=$(PREFIX)' 'libdir=$(LIBDIR)' 'includedir=$${prefix}/include' '' 'Name: thirl' \
		'Description: inter-process communication, one API over every mechanism' 'Version: $(VERSION)' \
		'Libs: -L$${libdir} -lthirl' 'Libs.private: -pthread' 'Cflags: -I$${includedir}' \
		>$(TO_LIB)/pkgconfig/thirl.pc
	$(if $(TOOL),$(INSTALL) -m 755 $(TOOL_PROGRAM) $(DESTDIR)$(PREFIX)/bin/thirl)
	$(if $(BENCH),$(INSTALL) -m 755 $(BENCH_PROGRAM) $(DESTDIR)$(PREFIX)/bin/thirl-bench)
	for page in $(MAN); do $(INSTALL) -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done
	$(EACH_OTHER_NAME) ln -sf $${page##*/} $$link; done; done

uninstall:
	rm -f $(patsubst %,$(DESTDIR)$(PREFIX)/%,$(wildcard include/thirl/*.h)) $(TO_LIB)/libthirl.a $(TO_LIB)/libthirl.so* \
		$(TO_LIB)/pkgconfig/thirl.pc $(DESTDIR)$(PREFIX)/bin/thirl $(DESTDIR)$(PREFIX)/bin/thirl-bench
	for page in $(MAN); do rm -f $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done
	$(EACH_OTHER_NAME) rm -f $$link; done; done
	-rmdir $(DESTDIR)$(PREFIX)/include/thirl

clean:
	rm -rf build
