# SPDX-License-Identifier: MIT
#
#   make              the library, the tool, the examples and the bench, in build/
#   make check        all tests; with EXTRA=asan, ubsan or tsan in a build directory of their own, with BRIEF=1 fewer
#   make fuzz         libFuzzer on every parser, SECONDS=60 each; TARGET=… for one
#   make usual FROM=…  puts measured costs into mech/usual.c, for machines on which nobody has measured
#   make fails        every call that the library makes fails with each of its errors; goes on where it was stopped
#   make arrows lint format bench bench-guard soak flood peers chaos histories wake tide conform-all install uninstall clean
#
# CC=clang works. Variables for packagers: PREFIX, LIBDIR, DESTDIR, CFLAGS_ADD, LDFLAGS_ADD.

EXTRA ?=
ifeq ($(filter $(EXTRA),asan ubsan tsan fuzz)$(if $(EXTRA),,none),)
$(error EXTRA is asan, ubsan, tsan or empty, not "$(EXTRA)")
endif
B := build$(addprefix /,$(EXTRA))

ifeq ($(origin CC),default)
CC := gcc
endif
comma := ,
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
# A sanitizer names lines, and needs nothing else; the compiler takes half as long for a test that nobody waits for. What is undefined is
# looked for in the library, and not in its tests.
SPEED := $(if $(EXTRA),-O1 -g1,-O2 -g)
TEST_SPEED := -O1 -g1
BRISK := $(if $(filter asan,$(EXTRA)),-O0 -fno-sanitize=undefined)
COMPILE = $(CC) -pipe $(CPPFLAGS) -std=gnu11 $(SPEED) $(WARN) -fvisibility=hidden -fPIC -fno-plt -pthread $(SANITIZE) $(CFLAGS_ADD)
LINK = $(CC) -pthread $(SANITIZE) $(LDFLAGS_ADD)
# There are many tests to link.
QUICK := $(if $(shell command -v ld.gold),-fuse-ld=gold)

# ---- what there is --------------------------------------------------------------------------------------------------

LIBRARY := $(wildcard $(addsuffix /*.c,base mem sync wire mech chan pattern serve))
TOOL := $(wildcard tool/*.c)
BENCH := $(wildcard bench/*.c)
# Peers that thirl is measured beside: each is built where its library is; bench --peers says what is not there.
header = $(shell $(CC) -E -x $(or $(2),c) -include $(1) /dev/null >/dev/null 2>&1 && echo yes)
ICEORYX := $(lastword $(sort $(patsubst %/iceoryx_posh/,%,$(wildcard /usr/include/iceoryx/*/iceoryx_posh/))))
PEER := thirl mq $(if $(call header,zmq.h),zmq) $(if $(call header,nng/nng.h),nng) $(if $(call header,systemd/sd-bus.h),sdbus) \
	$(if $(call header,boost/interprocess/ipc/message_queue.hpp,c++),boost) \
	$(if $(call header,nats/nats.h),nats) $(if $(call header,dds/dds.h),cyclone) $(if $(ICEORYX),iceoryx)
PEER_LIBS_zmq := -lzmq
PEER_LIBS_nng := -lnng
PEER_LIBS_sdbus := -lsystemd
PEER_LIBS_boost := -lstdc++
PEER_LIBS_iceoryx := -liceoryx_posh -liceoryx_hoofs -lstdc++
PEER_LIBS_nats := -lnats
PEER_LIBS_cyclone := -lddsc
# Event loops that are no part of libc: each example is built where pkg-config knows its library.
LOOPS := uv=libuv glib=glib-2.0 uring=liburing
ABSENT := $(strip $(foreach loop,$(LOOPS),$(if $(shell pkg-config --exists $(lastword $(subst =, ,$(loop))) 2>&1 || echo no),$(loop))))
EXAMPLE := $(filter-out $(foreach loop,$(ABSENT),example/loop-$(firstword $(subst =, ,$(loop))).c),$(wildcard example/*.c))
$(foreach loop,$(filter-out $(ABSENT),$(LOOPS)),$(eval LOOP_HEADERS_$(firstword $(subst =, ,$(loop))) := \
	$(patsubst -I%,-isystem %,$(shell pkg-config --cflags-only-I $(lastword $(subst =, ,$(loop)))))))
$(foreach loop,$(filter-out $(ABSENT),$(LOOPS)),$(eval LOOP_LIBS_$(firstword $(subst =, ,$(loop))) := \
	$(shell pkg-config --libs $(lastword $(subst =, ,$(loop))))))
TEST := $(wildcard tests/fault/*_test.c tests/crash/*_test.c tests/conform/*_test.c tests/race/*_test.c tests/peer/*_test.c tests/*_test.c)
TEST_SUPPORT := $(filter-out %_test.c tests/fuzz/% tests/fault/%,$(wildcard tests/*.c tests/*/*.c))
FUZZ := $(filter-out %/replay.c,$(wildcard tests/fuzz/*.c))
SCRIPT := $(filter-out tests/fuzz/% tests/peer/%,$(wildcard tests/*/*.sh))
ifneq ($(EXTRA),)
SCRIPT := $(filter-out tests/house/% tests/bench/% tests/conform/%,$(SCRIPT))
BENCH :=
PEER :=
EXAMPLE :=
endif

# How late something is, and how many there can be, a sanitizer has nothing to say about; and of the tool it sees enough in these.
ifeq ($(EXTRA),asan)
TEST := $(filter-out $(addprefix %/,$(addsuffix _test.c,conds crowd death gather locks mourn once permit poll race rwlocks share shelf signal soak throng tide time token wake)),$(TEST))
SCRIPT := $(filter-out tests/cli/%,$(SCRIPT)) $(addprefix tests/cli/,given.sh list.sh run.sh transfer.sh)
# BRIEF=1, as ./test asks for: of what takes long, leaves out what passes through the same rooms as another one that stays.
ifneq ($(BRIEF),)
TEST := $(filter-out $(addprefix %/,$(addsuffix _test.c,age carry doctor fork gone herald many muster named note place registry scarce survive)),$(TEST))
SCRIPT := $(filter-out %/given.sh %/run.sh %/transfer.sh,$(SCRIPT))
endif
endif

# What the parsers have learnt is replayed where a sanitizer watches.
ifeq ($(EXTRA),)
REPLAYED :=
else
REPLAYED = $(FUZZERS)
endif

# Under TSan only programs whose participants are threads say anything; those that fork take long and see nothing.
TSAN_TEST ?= addr barrier bell cache door cast claim cond err fd futex gate happen hold lane mutex node race rwlock sem state thread wait weave
ifeq ($(EXTRA),tsan)
TEST := $(filter-out tests/conform/cast_test.c,$(filter $(addprefix %/,$(addsuffix _test.c,$(TSAN_TEST))),$(TEST)))
SCRIPT :=
FUZZ :=
TOOL :=
endif

WOVEN := $(LIBRARY:%.c=$(B)/weave/%.o)
# A sanitizer sees the same in a library with points as in one without: only that one is built for it.
OBJECTS := $(if $(EXTRA),$(WOVEN),$(LIBRARY:%.c=$(B)/obj/%.o))
TOOL_OBJECTS := $(TOOL:%.c=$(B)/obj/%.o)
BENCH_OBJECTS := $(BENCH:%.c=$(B)/obj/%.o)
EXAMPLE_OBJECTS := $(EXAMPLE:%.c=$(B)/obj/%.o)
TEST_OBJECTS := $(TEST:%.c=$(B)/%.o) $(TEST_SUPPORT:%.c=$(B)/%.o) $(FUZZ:%.c=$(B)/%.o) $(B)/tests/fuzz/replay.o

WEAVE := $(B)/weave/libthirl.a
STATIC := $(if $(EXTRA),$(WEAVE),$(B)/libthirl.a)
# A sanitizer's runtime is in the program only, so that its build has no shared library.
SHARED := $(if $(EXTRA),,$(B)/$(SONAME))
TOOL_PROGRAM := $(if $(TOOL),$(B)/thirl)
TOOL_WEAVE := $(if $(EXTRA),$(TOOL_PROGRAM),$(if $(TOOL),$(B)/weave/thirl))
BENCH_PROGRAM := $(if $(BENCH),$(B)/thirl-bench)
PEERS := $(strip $(PEER:%=$(B)/peer/%))
EXAMPLES := $(EXAMPLE:%.c=$(B)/%)
FUZZERS := $(FUZZ:%.c=$(B)/%)
TESTS := $(TEST:%.c=$(B)/%) $(FUZZERS)

.PHONY: all tests check arrows lint format usual bench soak flood peers chaos histories wake tide fails conform-all fuzz fuzzers install uninstall clean FORCE
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

$(TEST:%.c=$(B)/%.o): private TEST_SPEED += $(BRISK)
$(B)/tests/%.o: tests/%.c $(B)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(TEST_SPEED) -DTHIRL_WEAVE -MMD -MP -c -o $@ $<

# Built anew each time: an archive would keep the objects of files that are gone.
$(STATIC): $(OBJECTS)
$(WEAVE): $(WOVEN)
$(B)/tests/libtest.a: $(TEST_SUPPORT:%.c=$(B)/%.o)
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

$(B)/thirl-bench: $(BENCH_OBJECTS) $(STATIC)
	$(LINK) -o $@ $^ -lm

$(B)/obj/bench/peer/%.o: bench/peer/%.cc $(B)/flags
	@mkdir -p $(@D)
	$(CXX) -I. -Iinclude $(addprefix -isystem ,$(ICEORYX)) -O2 -g -Wall -Wextra -MMD -MP -c -o $@ $<

$(PEERS): $(B)/peer/%: $(B)/obj/bench/peer/%.o $(B)/obj/bench/peer/drive.o \
		$(addprefix $(B)/obj/bench/,stage.o hist.o payload.o census.o) $(STATIC)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(PEER_LIBS_$*)

$(EXAMPLES): $(B)/%: $(B)/obj/%.o $(STATIC)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(LOOP_LIBS_$(patsubst example/loop-%,%,$*))

$(filter-out $(FUZZERS),$(TESTS)): $(B)/%: $(B)/%.o $(B)/tests/libtest.a $(WEAVE)
	$(LINK) $(QUICK) -Wl,-u,leaks_look -o $@ $^ -lcmocka

# It carries the page in itself.
$(B)/obj/bench/page.o: bench/page.html

# What a villain sends is damaged on the way: these calls pass through tests/conform/villain.c.
$(B)/tests/conform/chaos_test: private LINK += $(addprefix -Wl$(comma)--wrap=,send sendmsg write pwritev2 mq_timedsend msgsnd)

# Between it and libc there is what fails on purpose; before the archive, in which others wrap some of the same calls.
$(B)/tests/fault/fault_test: private QUICK += $(B)/tests/fault/fault.o -Wl,--wrap=free -Wl,--wrap=syscall \
	$(shell sed -n 's/^    CALL.\([a-z0-9_]*\),.*/-Wl,--wrap=\1/p' tests/fault/calls.h)
$(B)/tests/fault/fault_test: | $(B)/tests/fault/fault.o
$(B)/tests/fault/fault_test.o: tests/fault/fault.c tests/fault/calls.h

# Its allocator counts.
$(B)/tests/quiet_test: $(B)/obj/bench/count.o
$(B)/tests/hist_test: $(B)/obj/bench/hist.o

# A parser and its corpus; with libFuzzer's main where that drives it.
$(FUZZERS): $(B)/%: $(B)/%.o $(if $(filter fuzz,$(EXTRA)),,$(B)/tests/fuzz/replay.o) $(B)/tests/libtest.a $(WEAVE)
	$(LINK) $(QUICK) $(if $(filter fuzz,$(EXTRA)),-fsanitize=fuzzer) -o $@ $^

-include $(patsubst %.o,%.d,$(OBJECTS) $(WOVEN) $(TOOL_OBJECTS) $(BENCH_OBJECTS) $(EXAMPLE_OBJECTS) $(TEST_OBJECTS) \
	$(patsubst %,$(B)/obj/bench/peer/%.o,drive $(PEER)))

# ---- proving it -----------------------------------------------------------------------------------------------------

TEST_ENVIRONMENT = BUILD='$(CURDIR)/$(B)' EXTRA='$(EXTRA)' BRIEF='$(BRIEF)' TOOL='$(addprefix $(CURDIR)/,$(TOOL_PROGRAM))' \
	TOOL_WEAVE='$(addprefix $(CURDIR)/,$(TOOL_WEAVE))' CC='$(CC)'

tests: all $(TOOL_WEAVE) $(TESTS)

# Programs run side by side: the longest ones first, then those that wait beside those that work, and those that measure when it gets quiet.
LONG := %/crash_test %/death_test %/end_test $(if $(filter tsan,$(EXTRA)),%/node_test %/thread_test %/mutex_test)
CHECKED = $(filter $(LONG),$(TESTS)) $(filter-out tests/bench/%,$(SCRIPT)) $(filter-out $(LONG) $(FUZZERS),$(TESTS)) \
	$(REPLAYED) $(filter tests/bench/%,$(SCRIPT))

check: tests
	@$(TEST_ENVIRONMENT) sh tests/run.sh $(CHECKED)

arrows:
	@sh tests/arrows.sh

C_FILES = $(LIBRARY) $(TOOL) $(BENCH) $(EXAMPLE) $(TEST) $(TEST_SUPPORT) $(FUZZ) tests/fuzz/replay.c tests/fault/fault.c
H_FILES = $(wildcard */*.h include/thirl/*.h tests/*/*.h)

lint:
	@printf '%s\n' $(C_FILES) | xargs -P 2 -n 3 sh -c 'clang-tidy --quiet "$$@" -- $(CPPFLAGS) $(foreach loop,$(LOOPS),$(LOOP_HEADERS_$(firstword $(subst =, ,$(loop))))) -std=gnu11 -DTHIRL_WEAVE' lint
	@cppcheck --quiet --std=c11 --language=c --error-exitcode=1 --enable=warning,portability,performance \
		--inline-suppr --suppress=missingIncludeSystem --suppressions-list=.cppcheck -I. -Iinclude -D_GNU_SOURCE \
		-DTHIRL_WEAVE $(C_FILES)

format:
	clang-format -i $(C_FILES) $(H_FILES)

# A file that `thirl bench --save` wrote becomes what stands for one where there is none.
usual:
	@[ -f '$(FROM)' ] || { echo 'make usual FROM=FILE, as thirl bench --save writes it'; exit 1; }
	{ sed '/"thirl-costs/,$$d' mech/usual.c; sed 's/.*/    "&\\n"/' '$(FROM)'; echo '    ;'; } >mech/usual.c~
	mv mech/usual.c~ mech/usual.c

bench: all
	$(BENCH_PROGRAM) all

# The promised ratios: fails where one is missed by more than the noise of its own rounds, at 95 % confidence. ROUNDS=15, CASES="rtt-spin call".
CASES ?= rtt-spin rtt-sleep rtt-hot rtt-one-core call stream-small stream-bulk zero-copy gather mutex unix-rtt unix-stream unix-call pipe-rtt mq-rtt
bench-guard: all
	$(BENCH_PROGRAM) --guard --quick --rounds $(or $(ROUNDS),9) $(CASES)

COUNT ?= 10000
soak: tests
	$(TEST_ENVIRONMENT) sh tests/soak.sh $(COUNT)

# Our locks and queues beside others under the same kills; COUNT=300 for so many.
peers: tests
	@BUILD='$(B)' sh tests/peer/locks.sh $(if $(filter command%,$(origin COUNT)),$(COUNT))
	@BUILD='$(B)' sh tests/peer/queues.sh $(if $(filter command%,$(origin COUNT)),$(COUNT))

# COUNT races between a sleeper and its waker over each mechanism, a quarter by each way to wait, goes on where it was broken off; WAKE='shm shm-call' for
# some; WAKE_LOG=file is where it stands.
wake: tests
	@BUILD='$(B)' sh tests/wake.sh $(COUNT) $(WAKE)

# Joining and leaving beside a running stream, so often; a thousand callers of one server, a thousand subscribers; so many channels at once.
tide: tests
	@TIDE_COUNT=$(or $(COUNT),60000) TIDE_CALLERS=1000 TIDE_SUBSCRIBERS=1000 TIDE_CHANNELS=$(or $(CHANNELS),10000) CONFORM_SECONDS=86400 \
		$(B)/tests/conform/tide_test '$(or $(TIDE),*)'

# All that may fail while an end is opened, used and closed, over each mechanism; FAILS='shm *' for one. What is done stands in a file, and
# is passed over: remove it to begin anew. Most of it waits, so eight run side by side.
fails: tests
	@printf '%s\n' $(or $(FAILS:%='%'),pair writer reader push pull pub sub call serve notify watch) | sed '/ /!s/^/* /' | \
		FAULT_ONE_IN=1 FAULT_DONE='$(CURDIR)/$(B)/fails.done' CONFORM_SECONDS=86400 xargs -P 8 -I{} $(B)/tests/fault/fault_test '{}'
	@wc -l <'$(B)/fails.done' | sed 's/$$/ scenes are done/'

# The whole conformance suite under each wrapper, but wrap_test, which puts them on itself; `check` has a part of it.
WITH ?= spy hurt crc
conform-all: tests
	@for with in $(WITH); do echo "== $$with"; CONFORM_WITH=$$with TIMEOUT=900 $(TEST_ENVIRONMENT) sh tests/run.sh \
		$(filter-out %/wrap_test,$(filter $(B)/tests/conform/%,$(TESTS))) || bad=1; done; exit $${bad:-0}

# Beside a villain, over each mechanism and in each role, SECONDS each: no crash, no stall, no leak, and half of the rate. CHAOS='shm*' for some.
chaos: $(B)/tests/conform/chaos_test
	@CHAOS_MS=$$(($(SECONDS) * 1000)) CONFORM_SECONDS=86400 $(B)/tests/conform/chaos_test $(if $(CHAOS),'$(CHAOS)')

# COUNT messages through each mechanism and pattern, all looked at; goes on where build/flood says that it was. FLOOD='shm*' for some.
flood: tests
	@CONFORM_SECONDS=864000 FLOOD_FILE=$(B)/flood FLOOD_COUNT=$(if $(filter command%,$(origin COUNT)),$(COUNT),1000000000) \
		$(B)/tests/conform/flood_test $(if $(FLOOD),'$(FLOOD)')

# Locks, states, caches and work queues under several who are killed: what they recorded is linearizable. HISTORY=cache for one.
histories: $(B)/tests/history_test
	@HISTORY_SECONDS=$(SECONDS) $(B)/tests/history_test $(HISTORY)

SECONDS ?= 60
fuzz:
	@SECONDS='$(SECONDS)' MAKE='$(MAKE)' sh tests/fuzz/fuzz.sh $(TARGET)

fuzzers: $(FUZZERS)

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
