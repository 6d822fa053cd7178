#include <stdio.h>
#include <thirl/thirl.h>

int main(void) {
    thirl *end;
    char text[64];
    size_t size;
    if (thirl_open(&end, THIRL_PAIR, "shm://hello", NULL) || thirl_recv(end, text, sizeof text, &size, THIRL_SOON))
        return fprintf(stderr, "%s\n", thirl_why()), 1;
    printf("%.*s\n", (int)size, text);
    return thirl_close(&end, THIRL_SOON);
}
