/* Where test data lies: tests/data, or for what is too large or not ours to
 * ship the folder that QUERN_EXTRA_DATA names, laid out alike. */
#ifndef QN_TESTS_SUPPORT_DATA_H
#define QN_TESTS_SUPPORT_DATA_H

/* The path of a data file or folder, in one of four turns of a static buffer;
 * prints "skip: ..." and returns NULL where it is in neither place. */
const char *qn_test_data(const char *name);

#endif
