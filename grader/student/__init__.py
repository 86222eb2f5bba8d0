"""What a student uses: public cases on the student's own machine, without walls or references."""
