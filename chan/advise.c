/* SPDX-License-Identifier: MIT
 *
 * What programs see of the ranking: thirl_advise.
 */
#include "include/thirl/advise.h"

#include "base/err.h"
#include "mech/grade.h"

int thirl_advise(const struct thirl_wish *wish, int (*seen)(void *context, const struct thirl_choice *),
                 void *context) {
    struct grade grade;
    if (seen == NULL) {
        return err_say(EINVAL, "thirl_advise: there is no function to call (NULL)");
    }
    int rc = grade_all(&grade, wish);
    uint32_t place = 0;
    for (size_t i = 0; rc == 0 && i < COSTS_MECH_COUNT; i++) {
        const struct grade_line *line = &grade.line[i];
        const struct thirl_choice choice = {.size = sizeof choice,
                                            .mechanism = costs_names[line->kind->cost],
                                            .address = line->address,
                                            .place = line->fits ? ++place : 0,
                                            .copies = line->copies,
                                            .p50_ns = (int64_t)(line->p50 + 0.5),
                                            .p99_ns = (int64_t)(line->p99 + 0.5),
                                            .per_second = (uint64_t)(line->per_second + 0.5),
                                            .cpu_ns = (int64_t)(line->cpu + 0.5),
                                            .in_place = line->in_place,
                                            .here = grade.costs.here,
                                            .reason = line->reason,
                                            .costs = grade.costs.about};
        rc = seen(context, &choice);
    }
    grade_free(&grade);
    return rc;
}
