# SPDX-License-Identifier: MIT
#
# The tests, which of them a sanitizer has, and the campaigns, which take longer.

TEST := $(wildcard tests/fault/*_test.c tests/crash/*_test.c tests/conform/*_test.c tests/race/*_test.c tests/peer/*_test.c tests/*_test.c)
TEST_SUPPORT := $(filter-out %_test.c tests/coverage.c tests/sparing.c tests/fuzz/% tests/fault/% tests/strange/%,$(wildcard tests/*.c tests/*/*.c))
FUZZ := $(filter-out %/replay.c,$(wildcard tests/fuzz/*.c))
# Of the strange rooms only the users take no compiler, and no time.
STRANGERS := $(filter-out %/users.sh,$(wildcard tests/strange/*.sh))
SCRIPT := $(filter-out $(STRANGERS) $(if $(EXTRA),tests/house/% tests/bench/% tests/conform/% tests/strange/% tests/model/%) tests/fuzz/% tests/peer/%,$(wildcard tests/*/*.sh))

# How late something is, and how many there can be, a sanitizer has nothing to say about; and of the tool it sees enough in these.
ifeq ($(EXTRA),asan)
TEST := $(filter-out $(addprefix %/,$(addsuffix _test.c,conds crowd death gather locks mourn once permit poll race release rwlocks share shelf signal soak throng tide time token tread wake)),$(TEST))
SCRIPT := $(filter-out tests/cli/%,$(SCRIPT)) $(addprefix tests/cli/,given.sh list.sh run.sh transfer.sh)
# BRIEF=1, as ./test asks for: of what takes long, leaves out what passes through the same rooms as another one that stays.
ifneq ($(BRIEF),)
TEST := $(filter-out $(addprefix %/,$(addsuffix _test.c,age carry crash doctor fork gone herald labour many muster named note place registry scarce survive)),$(TEST))
SCRIPT := $(filter-out %/given.sh %/run.sh %/transfer.sh,$(SCRIPT))
endif
endif

# Under TSan only programs whose participants are threads say anything; those that fork take long and see nothing.
TSAN_TEST ?= addr barrier bell door cast claim cond err fd futex gate happen hold keepers lane mutex node race run rwlock sem state thread ways weave
ifeq ($(EXTRA),tsan)
TEST := $(filter-out tests/conform/cast_test.c,$(filter $(addprefix %/,$(addsuffix _test.c,$(TSAN_TEST))),$(TEST)))
SCRIPT :=
FUZZ :=
endif

TEST_OBJECTS := $(TEST:%.c=$(B)/%.o) $(TEST_SUPPORT:%.c=$(B)/%.o) $(FUZZ:%.c=$(B)/%.o) $(B)/tests/fuzz/replay.o $(B)/tests/sparing.o
FUZZERS := $(FUZZ:%.c=$(B)/%)
TESTS := $(TEST:%.c=$(B)/%) $(if $(EXTRA),$(FUZZERS))

.PHONY: tests check arrows models crash soak flood peers chaos histories wake tide fails strange strange-rooms coverage conform-all fuzz afl fuzzers corpora

# ---- how they are made ----------------------------------------------------------------------------------------------

$(TEST:%.c=$(B)/%.o): private TEST_SPEED += $(BRISK)
$(B)/tests/%.o: tests/%.c $(B)/flags
	@mkdir -p $(@D)
	$(COMPILE) $(TEST_SPEED) -DTHIRL_WEAVE -MMD -MP -c -o $@ $<

$(B)/tests/libtest.a: $(TEST_SUPPORT:%.c=$(B)/%.o)
$(filter-out $(FUZZERS),$(TESTS)): $(B)/%: $(B)/%.o $(B)/tests/libtest.a $(WEAVE)
	$(LINK) $(QUICK) -Wl,-u,leaks_look -o $@ $^ -lcmocka

comma := ,
# What a villain sends is damaged on the way: these calls pass through tests/conform/villain.c.
$(B)/tests/conform/chaos_test: private LINK += $(addprefix -Wl$(comma)--wrap=,send sendmsg write pwritev2 mq_timedsend msgsnd)

# Each look of its at others' memory passes through tests/liar.c.
$(B)/tests/fetch_test: private LINK += $(addprefix -Wl$(comma)--wrap=,mmap munmap mprotect pread syscall)

# What the wing of locks asks of libc passes through tests/lone.h.
LONE := $(addprefix $(B)/tests/,lone_test neighbour_test knot_test instant_test choose_test half_test spout_test)
$(LONE): private LINK += $(addprefix -Wl$(comma)--wrap=,malloc calloc realloc mmap getrandom syscall)

# Between it and libc there is what fails on purpose; before the archive, in which others wrap some of the same calls.
FAULTS := $(filter $(B)/tests/fault/%,$(TESTS))
$(FAULTS): private QUICK += $(B)/tests/fault/fault.o -Wl,--wrap=free -Wl,--wrap=syscall \
	$(shell sed -n 's/^    CALL.\([a-z0-9_]*\),.*/-Wl,--wrap=\1/p' tests/fault/calls.h)
$(FAULTS): | $(B)/tests/fault/fault.o
$(FAULTS:%=%.o) $(B)/tests/fault/fault.o: tests/fault/fault.c tests/fault/calls.h

# Before libc, in these alone.
$(addprefix $(B)/tests/,link_test chain_test spoke_test clerk_test watchers_test): $(B)/tests/sparing.o

# Its allocator counts.
$(B)/tests/quiet_test: $(B)/obj/bench/count.o
$(B)/tests/hist_test: $(B)/obj/bench/hist.o

# A parser and its corpus; with libFuzzer's main where that drives it.
$(FUZZERS): $(B)/%: $(B)/%.o $(if $(filter fuzz,$(EXTRA)),,$(B)/tests/fuzz/replay.o) $(B)/tests/libtest.a $(WEAVE)
	$(LINK) $(QUICK) $(if $(filter fuzz,$(EXTRA)),-fsanitize=fuzzer) -o $@ $^

-include $(patsubst %.o,%.d,$(TEST_OBJECTS))

# ---- how they are run -----------------------------------------------------------------------------------------------

TEST_ENVIRONMENT = BUILD='$(CURDIR)/$(B)' EXTRA='$(EXTRA)' BRIEF='$(BRIEF)' TOOL='$(addprefix $(CURDIR)/,$(TOOL_PROGRAM))' \
	TOOL_WEAVE='$(addprefix $(CURDIR)/,$(TOOL_WEAVE))' CC='$(CC)'

tests: all $(TOOL_WEAVE) $(TESTS)

# Programs run side by side: the longest ones first, then those that wait beside those that work, and those that measure when it gets quiet. What
# the parsers have learnt is replayed where a sanitizer watches.
LONG := %/crash_test %/death_test %/end_test $(if $(filter tsan,$(EXTRA)),%/node_test %/thread_test %/mutex_test)
CHECKED = $(filter $(LONG),$(TESTS)) $(filter-out tests/bench/%,$(SCRIPT)) $(filter-out $(LONG) $(FUZZERS),$(TESTS)) \
	$(if $(EXTRA),$(FUZZERS)) $(filter tests/bench/%,$(SCRIPT))

check: tests
	@$(TEST_ENVIRONMENT) sh tests/run.sh $(CHECKED)

arrows:
	@sh tests/arrows.sh

# ---- campaigns --------------------------------------------------------------------------------------------------------

SECONDS ?= 60
COUNT ?= 10000
soak: tests
	$(TEST_ENVIRONMENT) sh tests/soak.sh $(COUNT)

# The protocols as models, with more messages and deaths than `check` has.
models:
	@WHOLE=1 CC='$(CC)' sh tests/model/models.sh

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

# Blows at every named point: between two ends over each mechanism (crash_test), and in each role of each pattern (blow_test; CRASH='shm *' for some of
# that alone). What is done stands in a file, and is passed over: remove it to begin anew. Says which points nobody came by.
SCENES = printf '%s\n' $(if $(1),'$(1)',$(foreach group,pair writer reader push pull pub block sub pattern call serve notify watch,'* $(group)'))
crash: tests
	@$(if $(CRASH),,THIRL_CRASH_ALL=1 $(B)/tests/crash/crash_test)
	@$(call SCENES,$(CRASH)) | BLOW_ONE_IN=$(or $(ONE_IN),1) BLOW_DONE='$(CURDIR)/$(B)/blows.done' \
		BLOW_POINTS='$(CURDIR)/$(B)/blows.points' CONFORM_SECONDS=86400 xargs -P 8 -I{} $(B)/tests/crash/blow_test '{}'
	@wc -l <'$(B)/blows.done' | sed 's/$$/ scenes are done/'
	@$(B)/tests/crash/blow_test points | sort -u >'$(B)/blows.all'
	@sort -u '$(B)/blows.points' | comm -12 - '$(B)/blows.all' | wc -l | sed 's/$$/ points were struck at, of the following nobody:/'
	@sort -u '$(B)/blows.points' | comm -13 - '$(B)/blows.all'

# All that may fail while an end is opened, used and closed, over each mechanism; FAILS='shm *' for one. What is done stands in a file, and
# is passed over: remove it to begin anew. Most of it waits, so eight run side by side.
fails: tests
	@$(call SCENES,$(FAILS)) | FAULT_ONE_IN=$(or $(ONE_IN),1) FAULT_DONE='$(CURDIR)/$(B)/fails.done' CONFORM_SECONDS=86400 \
		xargs -P 8 -I{} $(B)/tests/fault/fault_test '{}'
	@wc -l <'$(B)/fails.done' | sed 's/$$/ scenes are done/'

# Rooms that are not like ours: 32 bits, another C library, another processor, limits, clocks, namespaces; STRANGE='bits limits' for some. What this
# machine has not is skipped, and named.
strange-rooms: all
	@MAKE='$(MAKE)' sh tests/strange/build.sh

strange: strange-rooms
	@TIMEOUT=1800 JOBS=2 $(TEST_ENVIRONMENT) sh tests/run.sh $(or $(STRANGE:%=tests/strange/%.sh), \
		$(filter-out %/build.sh %/pair.sh,$(wildcard tests/strange/*.sh)))

# Which branches the tests and a part of the campaigns take, in build/coverage: a table, the poorest room first. Without optimization, and nothing inlined: so
# that a branch there is one in the source. Takes long; MORE=1 counts on from the last time.
COVERED := build/coverage
COVER = $(MAKE) B=$(COVERED) BRIEF=1 SPEED=-O0 CFLAGS_ADD='--coverage -fprofile-update=atomic -Dalways_inline=' \
	LDFLAGS_ADD='--coverage -Wl,--wrap=_exit $(CURDIR)/$(COVERED)/exit.o'
coverage:
	@mkdir -p $(COVERED)
	@$(if $(MORE),,find $(COVERED) -name '*.gcda' -delete; rm -f $(COVERED)/fails.done)
	$(CC) -O1 -c -o $(COVERED)/exit.o tests/coverage.c
	-$(COVER) check
	-$(COVER) fails ONE_IN=3
	-$(COVER) chaos SECONDS=1
	-$(COVER) conform-all
	-$(COVER) corpora
	@sh tests/coverage.sh $(COVERED)

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

fuzz:
	@SECONDS='$(SECONDS)' MAKE='$(MAKE)' sh tests/fuzz/fuzz.sh $(TARGET)

afl:
	@SECONDS='$(SECONDS)' MAKE='$(MAKE)' sh tests/fuzz/afl.sh $(TARGET)

fuzzers: $(FUZZERS)

# What has been found stays: each parser with its corpus, and what the dice make of it.
corpora: fuzzers
	@$(TEST_ENVIRONMENT) sh tests/run.sh $(FUZZERS)
