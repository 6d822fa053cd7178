/* SPDX-License-Identifier: MIT
 *
 * No memory: malloc has nothing left, until it is over.
 */
#ifndef TESTS_FAMINE_H
#define TESTS_FAMINE_H

#include <stdbool.h>

/* false: this build's allocator would end the process. The caller's stack has room enough. */
bool famine_begin(void);
void famine_end(void);

#endif
