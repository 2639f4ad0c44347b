/* Codes to words: stable, for machines; sentences are made in Python. */
#include "core.h"

const char *tscope_code_name(int code)
{
    switch ((enum tscope_code)code) {
    case TSCOPE_OK: return "ok";
    case TSCOPE_FULL: return "full";
    case TSCOPE_END: return "end";
    case TSCOPE_E_MEMORY: return "out_of_memory";
    case TSCOPE_E_NOT_CAPTURE: return "not_a_capture";
    case TSCOPE_E_EMPTY: return "empty";
    case TSCOPE_E_VERSION: return "unknown_version";
    case TSCOPE_E_HEADER_CUT: return "truncated_header";
    case TSCOPE_E_RECORD_CUT: return "truncated_record";
    case TSCOPE_E_RECORD_LENGTH: return "record_length";
    case TSCOPE_E_BLOCK_LENGTH: return "block_length";
    case TSCOPE_E_BLOCK_TRAILER: return "block_trailer";
    case TSCOPE_E_INTERFACE: return "unknown_interface";
    case TSCOPE_E_LINKTYPE: return "unknown_link_type";
    case TSCOPE_E_SECOND_HEADER: return "second_file_header";
    case TSCOPE_E_READ: return "read_failed";
    case TSCOPE_E_TIME_JUMP: return "time_jump";
    case TSCOPE_E_EVICTED: return "evicted";
    case TSCOPE_E_RESOLUTION: return "time_resolution";
    case TSCOPE_E_OPTION: return "option_out_of_range";
    case TSCOPE_E_SPILL: return "spill_failed";
    }
    return "unknown";
}
