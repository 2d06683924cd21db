"""Parts of the MIMIC-CXR reader.

tree           finds the files of an installation
mimic_tables   reads the split and metadata tables
index          the tables and the zip's directory as columns in one file
reports        reads reports from the zip or the folder
annotations    reads annotation files of LLaVA-Rad and R2Gen
select         chooses images and priors
studies        builds the studies
"""
