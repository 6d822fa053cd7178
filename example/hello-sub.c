#include <stdio.h>
#include <thirl/thirl.h>

/* Any number of these, before or while hello-pub runs. */
int main(void) {
    thirl *end;
    int count = 0;
    if (thirl_open(&end, THIRL_SUB, "shm://hello/count", NULL)) return fprintf(stderr, "%s\n", thirl_why()), 1;
    while (count < 9) {
        if (thirl_recv(end, &count, sizeof count, NULL, THIRL_SOON)) return fprintf(stderr, "%s\n", thirl_why()), 1;
        printf("%d\n", count);
    }
    return thirl_close(&end, THIRL_SOON);
}
