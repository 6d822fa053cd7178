#include <stdio.h>
#include <thirl/thirl.h>

int main(void) {
    thirl *end;
    thirl_msg *reply;
    if (thirl_open(&end, THIRL_CALL, "shm://hello-calls", NULL) || thirl_call(end, "world", 5, &reply, THIRL_SOON))
        return fprintf(stderr, "%s\n", thirl_why()), 1;
    printf("%.*s\n", (int)thirl_msg_size(reply), (const char *)thirl_msg_data(reply));
    thirl_free(&reply);
    return thirl_close(&end, THIRL_SOON);
}
