/* SPDX-License-Identifier: MIT
 *
 * A test over each kind of queue of the kernel, in a child, as a process joins the registry once. The file has `scheme`, which `schemes` of it
 * are set to in turn, `run`, which calls what it is given, or answers 77 where there is no such kind here, and do_NAME.
 */
#ifndef TESTS_KINDS_H
#define TESTS_KINDS_H

#define OVER_EACH_KIND(name)                                                                                           \
    static void name(void **state) {                                                                                   \
        int (*body)(void) = do_##name;                                                                                 \
        for (unsigned i = 0; i < 2; i++) {                                                                             \
            scheme = schemes[i];                                                                                       \
            int rc = member_clear(state) == 0 ? room_run(run, &body) : 1;                                              \
            if (rc == 77) {                                                                                            \
                print_message("skip: there is no %s here\n", scheme);                                                  \
                continue;                                                                                              \
            }                                                                                                          \
            assert_int_equal(rc, 0);                                                                                   \
        }                                                                                                              \
    }

#endif
