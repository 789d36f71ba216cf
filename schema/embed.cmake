# Writes a C file that holds the SQL files of a folder, and for api/ their digest.
#
#   cmake -D FOLDER=volume|site|setup|api -D OUTPUT=file.c -P embed.cmake
#
# Each byte of a file becomes one element of an array: compilers limit the length of string
# literals, and SQL is full of quotes and backslashes.
cmake_minimum_required(VERSION 3.25)

file(GLOB files ${CMAKE_CURRENT_LIST_DIR}/${FOLDER}/*.sql)
list(SORT files COMPARE STRING)

set(texts "")
set(rows "")
set(digests "")
foreach(file IN LISTS files)
    cmake_path(GET file STEM LAST_ONLY stem)
    string(MAKE_C_IDENTIFIER "text_${stem}" symbol)
    set(version 0)
    if(FOLDER STREQUAL "site")
        if(NOT stem MATCHES "^0*([1-9][0-9]*)_")
            message(FATAL_ERROR "schema/site/${stem}.sql: a migration's name begins with its number")
        endif()
        set(version ${CMAKE_MATCH_1})
    endif()

    file(READ ${file} hex HEX)
    string(REGEX REPLACE "(................................)" "\\1\n" hex "${hex}")
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
    string(APPEND texts "static const char ${symbol}[] = {\n${bytes}0};\n\n")
    string(APPEND rows "    {\"${stem}\", ${version}, ${symbol}},\n")

    file(SHA256 ${file} digest)
    string(APPEND digests "${stem} ${digest}\n")
endforeach()

list(LENGTH files count)
if(count EQUAL 0)
    # An array of C has at least one element; nobody reads it, as the count says 0.
    set(rows "    {\"\", 0, \"\"},\n")
endif()

set(code "#include \"schema/schema.h\"\n\n${texts}")
string(APPEND code "const struct schema_file schema_${FOLDER}[] = {\n${rows}};\n")
string(APPEND code "const size_t schema_${FOLDER}_count = ${count};\n")
if(FOLDER STREQUAL "api")
    string(SHA256 digest "${digests}")
    string(APPEND code "\nconst char schema_api_digest[] = \"${digest}\";\n")
endif()
file(WRITE ${OUTPUT} "${code}")
