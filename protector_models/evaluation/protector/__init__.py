"""The paper's experiment: unsafe answers before and after detector and detoxifier, and benign ones left alone."""
