/* SPDX-License-Identifier: MIT
 *
 * The locks that go through the campaign of fray.h.
 */
#ifndef TESTS_PEER_RIVALS_H
#define TESTS_PEER_RIVALS_H

#include "tests/peer/fray.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Each list ends with one that has no name. */
extern const struct rival rivals_ours[], rivals_libc[];
/* Linked in where Boost is installed: locks.sh. */
extern const struct rival rivals_boost[] __attribute__((weak));

#ifdef __cplusplus
}
#endif
#endif
