/* SPDX-License-Identifier: MIT
 *
 * What lies in shared memory lies alike for every process, whatever its compiler makes of a long and of where eight bytes may begin. A
 * struct that is shared says how large it is and where one of its members lies, the last or the first behind a gap; where a compiler
 * makes it otherwise, nothing is built. Where eight bytes follow an odd number of words, a word of padding stands before them.
 */
#ifndef BASE_LAYOUT_H
#define BASE_LAYOUT_H

#include <stddef.h>

#define LAYOUT(name, bytes, member, at)                                                                                \
    _Static_assert(sizeof(struct name) == (bytes) && offsetof(struct name, member) == (at), "processes share it")

#endif
