#include <stdio.h>
#include <thirl/thirl.h>

int main(void) {
    thirl *end;
    if (thirl_open(&end, THIRL_PAIR, "shm://hello", NULL) || thirl_send(end, "hello, world", 12, THIRL_SOON)) {
        fprintf(stderr, "%s\n", thirl_why());
        return 1;
    }
    return thirl_close(&end, THIRL_SOON);
}
