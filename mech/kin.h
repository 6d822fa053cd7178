/* SPDX-License-Identifier: MIT
 *
 * The patterns that live on connections, as mechanisms of one scheme. A file that includes this has before: struct place; int
 * prepare(struct chain *, struct place *, const struct mech_open *), which reads the address and fills in what haul_open wants; the struct
 * meet_kind `kind`; and void know(struct thirl_limits *, bool claimed), what is true of the scheme whatever the pattern. KIN(scheme,
 * what) then makes kin_push and what follows it, each with an end that begins with a chain; what: "Unix socket".
 */
#ifndef MECH_KIN_H
#define MECH_KIN_H

#include "mech/caller.h"
#include "mech/clerk.h"
#include "mech/crier.h"
#include "mech/deal.h"
#include "mech/ear.h"
#include "mech/heed.h"
#include "mech/herald.h"

#define KIN_END(role, type, opens, limit, claim)                                                                       \
    struct kin_##role {                                                                                                \
        struct type end;                                                                                               \
        struct place place;                                                                                            \
    };                                                                                                                 \
    static int open_##role(void *self, const struct mech_open *open) {                                                 \
        struct kin_##role *k = self;                                                                                   \
        int rc = prepare(self, &k->place, open);                                                                       \
        return rc != 0 ? rc : opens(&k->end, open, &kind, &k->place);                                                  \
    }                                                                                                                  \
    static void limits_##role(void *self, struct thirl_limits *limits) {                                               \
        limit(self, limits);                                                                                           \
        know(limits, false);                                                                                           \
    }                                                                                                                  \
    static void claims_##role(struct thirl_limits *limits) {                                                           \
        claim(limits);                                                                                                 \
        know(limits, true);                                                                                            \
    }

#define KIN_SLOTS(scheme_, role, summary_)                                                                             \
    .scheme = (scheme_), .summary = (summary_), .state_size = sizeof(struct kin_##role), .open = open_##role,          \
    .limits = limits_##role, .claims = claims_##role

/* Who goes by ?full= and ?history= is the publisher; but both have one address. */
#define KIN(scheme_, what)                                                                                             \
    KIN_END(call, caller, caller_open, caller_limits, caller_claims)                                                   \
    KIN_END(serve, clerk, clerk_open, clerk_limits, clerk_claims)                                                      \
    KIN_END(watch, heed, heed_open, heed_limits, herald_claims)                                                        \
    KIN_END(notify, herald, herald_open, herald_limits, herald_claims)                                                 \
    KIN_END(sub, chain, ear_open, ear_limits, ear_claims_sub)                                                          \
    KIN_END(pull, chain, ear_open, ear_limits, ear_claims_pull)                                                        \
    KIN_END(pub, crier, crier_open, crier_limits, crier_claims)                                                        \
    KIN_END(push, deal, deal_open, deal_limits, deal_claims)                                                           \
    static const struct mech kin_call = {KIN_SLOTS(scheme_, call, what ": a client of who serves there"),              \
                                         CALLER_SLOTS};                                                                \
    static const struct mech kin_serve = {KIN_SLOTS(scheme_, serve, what ": one server, for all who call"),            \
                                          CLERK_SLOTS, .kin = &kin_call};                                              \
    static const struct mech kin_watch = {KIN_SLOTS(scheme_, watch, what ": events of who notifies there"),            \
                                          HEED_SLOTS, .kin = &kin_serve};                                              \
    static const struct mech kin_notify = {KIN_SLOTS(scheme_, notify, what ": events, to all who watch"),              \
                                           HERALD_SLOTS, .kin = &kin_watch};                                           \
    static const struct mech kin_sub = {KIN_SLOTS(scheme_, sub, what ": a subscriber of who publishes there"),         \
                                        EAR_SLOTS,                                                                     \
                                        .kin = &kin_notify,                                                            \
                                        .roles = 1u << THIRL_SUB,                                                      \
                                        .blocks = true,                                                                \
                                        .numbers = true,                                                               \
                                        .full = CRIER_FULL,                                                            \
                                        .history = true};                                                              \
    static const struct mech kin_pull = {KIN_SLOTS(scheme_, pull, what ": a worker of who pushes there"),              \
                                         EAR_SLOTS,                                                                    \
                                         .kin = &kin_sub,                                                              \
                                         .roles = 1u << THIRL_PULL,                                                    \
                                         .free = ear_free,                                                             \
                                         .requeue = ear_requeue};                                                      \
    static const struct mech kin_pub = {KIN_SLOTS(scheme_, pub, what ": from one to all who call"), CRIER_SLOTS,       \
                                        .kin = &kin_pull};                                                             \
    static const struct mech kin_push = {KIN_SLOTS(scheme_, push, what ": each message to one of those who call"),     \
                                         DEAL_SLOTS, .kin = &kin_pub};

#endif
