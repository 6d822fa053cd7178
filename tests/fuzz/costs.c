/* SPDX-License-Identifier: MIT
 *
 * Files of costs.
 */
#include "mech/costs.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct food food = {data, size};
    uint64_t wanted = food_number(&food, 4);
    struct costs costs;
    int rc = costs_read(&costs, (const char *)food.at, food.left, "the input");
    must(rc == 0 || rc == -THIRL_EFORMAT || rc == -THIRL_EVERSION);
    if (fuzz_answer(rc) != 0) {
        must(costs.line == NULL);
        return 0;
    }
    must(costs.count != 0 && strlen(costs.about) < sizeof costs.about);
    for (size_t i = 0; i < costs.count; i++) {
        const struct costs_line *line = &costs.line[i];
        struct costs_figure figure;
        must(line->mech < COSTS_MECH_COUNT && line->pattern < COSTS_PATTERN_COUNT && line->wait <= THIRL_WAIT_SLEEP);
        for (int k = 0; k < 2; k++) {
            costs_find(&costs, (enum costs_mech)line->mech, (enum costs_pattern)line->pattern, line->wait,
                       line->place != 0, k == 0 ? line->size : wanted, &figure);
            must(!figure.known || (figure.p50 >= 0 && figure.p99 >= 0 && figure.cpu >= 0 && figure.per_second >= 0));
            must(figure.known || figure.p50 <= 0);
        }
    }
    costs_free(&costs);
    return 0;
}
