/* The check of the whole request that stage 0 makes before anything else (spec §3.2). */
#include "request.h"

enum { TEMPERATURE_MIN = 1 << 10, TEMPERATURE_MAX = 1 << 22 };  /* Q16 */

static int text_is_valid(void)
{
    uint64_t prompted = REQUEST->text.prompt_length, drawn = REQUEST->text.new_tokens, temperature = REQUEST->text.temperature_q16;

    if (REQUEST->byte_length != 24 + 4 * prompted || prompted < 1 || drawn < 1 || prompted + drawn > HEADER->context)
        return 0;
    if (REQUEST->text.zero != 0)
        return 0;
    if (temperature != 0 && (temperature < TEMPERATURE_MIN || temperature > TEMPERATURE_MAX))
        return 0;
    for (uint64_t i = 0; i < prompted; i++)
        if (REQUEST->text.prompt[i] >= HEADER->vocabulary)
            return 0;
    return 1;
}

int request_is_valid(void)
{
    if (HEADER->request_kind == REQUEST_TEXT ? !text_is_valid() : REQUEST->byte_length != HEADER->context)
        return 0;
    return REQUEST->stage_count == (HEADER->flags & FLAG_SINGLE_PHASE ? 1 : HEADER->op_count * position_count());
}
