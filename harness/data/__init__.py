"""Stage 1 of the pipeline: reads a dataset's files and selects an ordered cohort of studies.

cohort          selects a cohort: studies, attrition, overlap with the train part, fingerprint
cohort_file     the file that describes a cohort in the results folder
sources         one module per dataset
subgroups       the subgroups of a study: view, sex, age, prior, length of the reference
masks           set-of-mark images: a user's segmentation masks drawn on the images
requests_file   a user's own requests, for `reportcard generate`
grounded        grounded reports as users write them
dataset_names   the names that one dataset goes by, and whether two are of one
contact_sheet   ten studies of a cohort on one picture
"""
