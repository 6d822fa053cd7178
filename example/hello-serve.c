#include <stdio.h>
#include <thirl/thirl.h>

int main(void) {
    thirl *end;
    thirl_msg *request;
    char text[64];
    if (thirl_open(&end, THIRL_SERVE, "shm://hello-calls", NULL) || thirl_take(end, &request, THIRL_SOON))
        return fprintf(stderr, "%s\n", thirl_why()), 1;
    int size =
        snprintf(text, sizeof text, "hello, %.*s", (int)thirl_msg_size(request), (const char *)thirl_msg_data(request));
    if (thirl_reply(end, &request, text, (size_t)size, THIRL_SOON)) fprintf(stderr, "%s\n", thirl_why());
    return thirl_close(&end, THIRL_SOON);
}
