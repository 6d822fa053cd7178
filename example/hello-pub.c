#include <stdio.h>
#include <thirl/thirl.h>
#include <unistd.h>

int main(void) {
    thirl *end;
    if (thirl_open(&end, THIRL_PUB, "shm://hello/count?history=1", NULL))
        return fprintf(stderr, "%s\n", thirl_why()), 1;
    for (int count = 0; count < 10; count++, usleep(100000))
        if (thirl_send(end, &count, sizeof count, THIRL_SOON)) return fprintf(stderr, "%s\n", thirl_why()), 1;
    return thirl_close(&end, THIRL_SOON);
}
