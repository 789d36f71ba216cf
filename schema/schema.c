#include "schema/schema.h"

const char schema_api_name[] = "tarn_1";
