/* SPDX-License-Identifier: MIT
 *
 * NATS: a subject each way, through a server on this machine that is started here. Each message is sent at once, for else a thread gathers
 * them for a while, and who receives keeps all that come: NATS drops what a subscriber has no room for.
 */
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/peer/peer.h"

#define TRIES 500 /* of 10 ms, until the server is there */

static natsConnection *conn;
static natsSubscription *mine;
static char theirs[100];

/* All find it by what is the same in the names that they have: "thirl-peer-1234-0". */
static int port_of(const char *where) {
    unsigned hash = 0, dashes = 0;
    for (; *where != 0; where++) {
        dashes += *where == '-';
        if (dashes == 3) break;
        hash = hash * 31 + (unsigned char)*where;
    }
    return 20000 + (int)(hash % 10000);
}

static natsStatus connect_to(const char *address) {
    natsOptions *options = NULL;
    natsStatus rc = natsOptions_Create(&options);
    rc = rc != NATS_OK ? rc : natsOptions_SetURL(options, address);
    rc = rc != NATS_OK ? rc : natsOptions_SetSendAsap(options, true);
    rc = rc != NATS_OK ? rc : natsConnection_Connect(&conn, options);
    for (int i = 0; rc != NATS_OK && i < TRIES; i++) {
        (void)usleep(10000);
        rc = natsConnection_Connect(&conn, options);
    }
    natsOptions_Destroy(options);
    return rc;
}

static int begin(const char *where) {
    char port[12];
    (void)snprintf(port, sizeof port, "%d", port_of(where));
    return peer_server((const char *const[]){"nats-server", "-a", "127.0.0.1", "-p", port, NULL});
}

static int open_end(int ping, const char *where) {
    char address[60], subject[100];
    (void)snprintf(address, sizeof address, "nats://127.0.0.1:%d", port_of(where));
    (void)snprintf(subject, sizeof subject, "%s.%d", where, ping);
    (void)snprintf(theirs, sizeof theirs, "%s.%d", where, !ping);
    natsStatus rc = connect_to(address);
    rc = rc != NATS_OK ? rc : natsConnection_SubscribeSync(&mine, conn, subject);
    rc = rc != NATS_OK ? rc : natsSubscription_SetPendingLimits(mine, -1, -1);
    rc = rc != NATS_OK ? rc : natsConnection_Flush(conn); /* the server knows of it */
    return rc == NATS_OK ? 0 : -1;
}

static int put(const void *data, size_t size) {
    return natsConnection_Publish(conn, theirs, data, (int)size) == NATS_OK ? 0 : -1;
}

static int get(void *data, size_t size) {
    natsMsg *msg = NULL;
    if (natsSubscription_NextMsg(&msg, mine, 20000) != NATS_OK) {
        return -1;
    }
    size_t got = (size_t)natsMsg_GetDataLength(msg);
    memcpy(data, natsMsg_GetData(msg), got < size ? got : size);
    natsMsg_Destroy(msg);
    return got == size ? 0 : -1;
}

const struct peer peer = {.name = "NATS, its server on TCP", .open = open_end, .put = put, .get = get, .begin = begin};
