/* SPDX-License-Identifier: MIT
 *
 * How old a message is, see stamp.h.
 */
#include "mech/stamp.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/crc.h"
#include "base/proc.h"

/* Two processes whose CLOCK_MONOTONIC is one and the same get the same number, others hardly ever. */
static uint32_t which_clock(void) {
    struct proc self;
    struct stat space = {.st_ino = 0};
    proc_self(&self);
    (void)stat("/proc/self/ns/time", &space);
    uint64_t inode = (uint64_t)space.st_ino;
    return crc_add(crc_add(0, self.boot, strnlen(self.boot, sizeof self.boot)), &inode, sizeof inode);
}

void stamp_init(struct stamp *stamp, int64_t lifespan) {
    *stamp = (struct stamp){.lifespan = lifespan, .clock = lifespan != 0 ? which_clock() : 0};
}

void stamp_write(const struct stamp *stamp, unsigned char *at) {
    const uint64_t times[] = {htole64((uint64_t)clock_now()), htole64((uint64_t)stamp->lifespan)};
    const uint32_t clock = htole32(stamp->clock);
    memcpy(at, times, sizeof times);
    memcpy(at + sizeof times, &clock, sizeof clock);
}

enum stamp_verdict stamp_judge(const struct stamp *stamp, const unsigned char *at, int64_t *age, int64_t *allowed) {
    uint64_t times[2];
    uint32_t clock;
    memcpy(times, at, sizeof times);
    memcpy(&clock, at + sizeof times, sizeof clock);
    int64_t sent = (int64_t)le64toh(times[0]), lifespan = (int64_t)le64toh(times[1]), now = clock_now();
    if (le32toh(clock) != stamp->clock) {
        return STAMP_FOREIGN;
    }
    if (sent < 0 || sent > now || lifespan <= 0) {
        return STAMP_DAMAGED;
    }
    *age = now - sent;
    *allowed = lifespan < stamp->lifespan ? lifespan : stamp->lifespan;
    return *age > *allowed ? STAMP_STALE : STAMP_GOOD;
}
