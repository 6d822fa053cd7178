/* SPDX-License-Identifier: MIT
 *
 * Requests of a CALL end, on their way to a server: to one that has little to do, and, where they may be repeated, to another one when it is gone.
 */
#ifndef PATTERN_REQUEST_H
#define PATTERN_REQUEST_H

#include "pattern/flight.h"

/* Sends a request. With 0 the call is in flight under *id, and wanted by so many threads; else there is none. Waits for room, and for a
 * server, until then, which is also the deadline of the call. */
int request_send(thirl *, struct flight *, const void *data, size_t size, thirl_time until, unsigned wanted,
                 uint64_t *id);

/* Sends a call that has lost its server (id 0: any of them) to another one, if there is one now. false: there is none. */
bool request_again(thirl *, struct flight *, uint64_t id);

#endif
