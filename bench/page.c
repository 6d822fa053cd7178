/* SPDX-License-Identifier: MIT
 *
 * page.html is in the program as it stands; what was measured takes the place of a mark in it.
 */
#include <string.h>

#include "bench/page.h"
#include "bench/show.h"

#define MARK "/*DATA*/"

__asm__(".pushsection .rodata\n"
        "page_html:\n"
        ".incbin \"bench/page.html\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char page_html[];

void page_write(FILE *file, const struct survey *survey) {
    const char *mark = strstr(page_html, MARK);
    (void)fwrite(page_html, 1, (size_t)(mark - page_html), file);
    show_json(file, survey);
    (void)fputs(mark + strlen(MARK), file);
}
