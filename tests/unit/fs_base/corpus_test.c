#include "tests/fuzz/base_targets.h"
#include "tests/unit/check.h"

TEST("the corpora of the fuzzers keep the parsers' promises")
{
    check_corpus("base64", fuzz_base64);
    check_corpus("conf", fuzz_conf);
    check_corpus("http_head", fuzz_http_head);
    check_corpus("json", fuzz_json);
    check_corpus("url", fuzz_url);
}
