/* quern: one program, one command a file (tools/<command>.c). */
#include <stdio.h>

int main(void)
{
    puts("quern");
    return 0;
}
