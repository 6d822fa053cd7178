/* SPDX-License-Identifier: MIT
 *
 * What a lock by name is known by.
 */
#ifndef SERVE_LOCK_H
#define SERVE_LOCK_H

#define LOCK_MAGIC "thirl.lk" /* its file begins with that */

#endif
