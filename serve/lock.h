/* SPDX-License-Identifier: MIT
 *
 * Locks by name, as their file tells that it is one.
 */
#ifndef SERVE_LOCK_H
#define SERVE_LOCK_H

#define LOCK_MAGIC "thirl.lk"

#endif
