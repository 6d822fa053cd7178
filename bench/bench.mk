# SPDX-License-Identifier: MIT
#
# The bench and the peers that thirl is measured beside: each peer is built where its library is; bench --peers says what is not there.

BENCH := $(if $(EXTRA),,$(wildcard bench/*.c))
header = $(shell $(CC) -E -x $(or $(2),c) -include $(1) /dev/null >/dev/null 2>&1 && echo yes)
ICEORYX := $(lastword $(sort $(patsubst %/iceoryx_posh/,%,$(wildcard /usr/include/iceoryx/*/iceoryx_posh/))))
PEER := $(if $(EXTRA),,thirl awake call prompt socket mq $(if $(call header,zmq.h),zmq) $(if $(call header,nng/nng.h),nng) $(if $(call header,systemd/sd-bus.h),sdbus) \
	$(if $(call header,boost/interprocess/ipc/message_queue.hpp,c++),boost) \
	$(if $(call header,nats/nats.h),nats) $(if $(call header,dds/dds.h),cyclone) $(if $(ICEORYX),iceoryx))
PEER_LIBS_zmq := -lzmq
PEER_LIBS_nng := -lnng
PEER_LIBS_sdbus := -lsystemd
PEER_LIBS_boost := -lstdc++
PEER_LIBS_iceoryx := -liceoryx_posh -liceoryx_hoofs -lstdc++
PEER_LIBS_nats := -lnats
PEER_LIBS_cyclone := -lddsc

BENCH_OBJECTS := $(BENCH:%.c=$(B)/obj/%.o)
BENCH_PROGRAM := $(if $(BENCH),$(B)/thirl-bench)
PEERS := $(PEER:%=$(B)/peer/%)

.PHONY: bench bench-guard usual

$(B)/thirl-bench: $(BENCH_OBJECTS) $(STATIC)
	$(LINK) -o $@ $^ -lm

# It carries the page in itself.
$(B)/obj/bench/page.o: bench/page.html

$(B)/obj/bench/peer/%.o: bench/peer/%.cc $(B)/flags
	@mkdir -p $(@D)
	$(CXX) -I. -Iinclude $(addprefix -isystem ,$(ICEORYX)) -O2 -g -Wall -Wextra -MMD -MP -c -o $@ $<

$(PEERS): $(B)/peer/%: $(B)/obj/bench/peer/%.o $(B)/obj/bench/peer/drive.o \
		$(addprefix $(B)/obj/bench/,stage.o hist.o payload.o census.o) $(STATIC)
	@mkdir -p $(@D)
	$(LINK) -o $@ $^ $(PEER_LIBS_$*)

-include $(patsubst %.o,%.d,$(BENCH_OBJECTS)) $(patsubst %,$(B)/obj/bench/peer/%.d,drive $(PEER))

bench: all
	$(BENCH_PROGRAM) all

# The promised ratios: fails where one is missed by more than the noise of its own rounds, at 95 % confidence. ROUNDS=15, CASES="rtt-spin call".
CASES ?= rtt-spin rtt-sleep rtt-hot rtt-one-core call stream-small stream-bulk zero-copy gather mutex unix-rtt unix-stream unix-call pipe-rtt mq-rtt
bench-guard: all
	$(BENCH_PROGRAM) --guard --quick --rounds $(or $(ROUNDS),9) $(CASES)

# A file that `thirl bench --save` wrote becomes what stands for one where there is none.
usual:
	@[ -f '$(FROM)' ] || { echo 'make usual FROM=FILE, as thirl bench --save writes it'; exit 1; }
	{ sed '/"thirl-costs/,$$d' mech/usual.c; sed 's/.*/    "&\\n"/' '$(FROM)'; echo '    ;'; } >mech/usual.c~
	mv mech/usual.c~ mech/usual.c
