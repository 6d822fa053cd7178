/* SPDX-License-Identifier: MIT
 *
 * Deadlines counted from now, for users. Overflow ends at THIRL_NEVER, a point before the clock began at THIRL_NOW.
 */
#include "base/clock.h"

thirl_time thirl_in_ns(int64_t ns) {
    int64_t now = clock_now();
    if (ns < -now) return THIRL_NOW;
    return THIRL_TIME(clock_after(now, ns));
}

thirl_time thirl_in_ms(int64_t ms) {
    if (ms > INT64_MAX / CLOCK_MS) return THIRL_NEVER;
    if (ms < INT64_MIN / CLOCK_MS) return THIRL_NOW;
    return thirl_in_ns(ms * CLOCK_MS);
}
